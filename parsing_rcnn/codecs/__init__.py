"""Bytes in and out: pictures, COCO run lengths, label and IUV PNGs, npz archives and JSON."""
