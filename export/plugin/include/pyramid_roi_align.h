/* The C ABI of PyramidRoiAlign: the CPU library holds prcnn_roi_align, the CUDA library prcnn_roi_align_cuda too. */
#ifndef PARSING_RCNN_PYRAMID_ROI_ALIGN_H
#define PARSING_RCNN_PYRAMID_ROI_ALIGN_H

#include <stdint.h>

#if defined(__GNUC__)
#define PRCNN_API __attribute__((visibility("default")))
#else
#define PRCNN_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

#define PRCNN_ABI_VERSION 1
#define PRCNN_MOST_CHANNELS 65536

enum prcnn_status { PRCNN_OK = 0, PRCNN_BAD_ARGUMENT = 1, PRCNN_CUDA_ERROR = 2 };
enum prcnn_type { PRCNN_FLOAT = 0, PRCNN_HALF = 1 };
enum prcnn_layout { PRCNN_NCHW = 0, PRCNN_NHWC = 1 };

/* Features of one picture at stride 2^level: [channels,height,width] or [height,width,channel_stride]. */
typedef struct prcnn_level {
    const void* data;
    int32_t height, width;
} prcnn_level;

typedef struct prcnn_roi_align_args {
    const prcnn_level* levels; /* level_count of them, from stride 2^first_level on */
    const float* rois;         /* [roi_count,4]: x1, y1, x2, y2 in canvas pixels */
    void* output;              /* [roi_count,channels,size,size] or [roi_count,size,size,channel_stride] */
    int64_t roi_count;         /* 0 is fine: nothing is read or written; rois and output below 2^63 bytes each */
    int32_t level_count, first_level;
    int32_t channels; /* 1 to PRCNN_MOST_CHANNELS */
    int32_t channel_stride; /* values from one cell to the next with PRCNN_NHWC, >= channels; else ignored */
    int32_t size, sampling_ratio;
    int32_t type, layout; /* prcnn_type, prcnn_layout, of features and output alike */
} prcnn_roi_align_args;

PRCNN_API int32_t prcnn_abi_version(void);

/* Why the arguments cannot be used, in one sentence; NULL where they can. The string is static. */
PRCNN_API const char* prcnn_roi_align_problem(const prcnn_roi_align_args* args);

/* Returns PRCNN_OK or PRCNN_BAD_ARGUMENT (ask prcnn_roi_align_problem). Memory of the host. */
PRCNN_API int32_t prcnn_roi_align(const prcnn_roi_align_args* args);

/* The same on the device: `levels` is host memory; what it points to, rois and output are device memory. Asynchronous
   on `stream` (a cudaStream_t). PRCNN_CUDA_ERROR where the launch failed. */
PRCNN_API int32_t prcnn_roi_align_cuda(const prcnn_roi_align_args* args, void* stream);

#ifdef __cplusplus
}
#endif

#endif
