// The webcam as a source of frames (live.js).
import { Problem } from "./gateway.js";

export class Webcam {
  noun = "webcam";
  name = "webcam"; // of what is saved
  stop = "Stop the webcam";

  async open(end) {
    if (!navigator.mediaDevices) throw new Problem({ detail: "Browsers give the webcam to pages on https or localhost only." });
    this.end = end;
    this.video = document.createElement("video");
    Object.assign(this.video, { muted: true, playsInline: true });
    await this.film({ facingMode: { ideal: "environment" } }); // of a phone's the one that sees what is before the visitor
  }

  async film(wanted) {
    try {
      this.media = await navigator.mediaDevices.getUserMedia({ video: { width: { ideal: 1280 }, height: { ideal: 720 }, ...wanted } });
    } catch (error) {
      const reasons = { NotAllowedError: "this page may not use it: allow it in the browser", NotFoundError: "none was found", NotReadableError: "another program uses it" };
      throw new Problem({ detail: `The webcam could not be opened: ${reasons[error.name] ?? error.message}.` });
    }
    if (this.closed) return this.release();
    this.media.getVideoTracks()[0].addEventListener("ended", () => this.end(new Problem({ detail: "The webcam was unplugged." })));
    this.video.srcObject = this.media;
    await this.video.play();
  }

  async run() {} // it films since it was opened

  // browsers tell it when one of them is open
  async several() {
    return (await cameras()).length > 1;
  }

  // The one on the other side; where sides are not known, the next one.
  async turn() {
    const { deviceId, facingMode } = this.media.getVideoTracks()[0].getSettings();
    const ids = (await cameras()).map((other) => other.deviceId);
    const next = { deviceId: { exact: ids[(ids.indexOf(deviceId) + 1) % ids.length] } };
    this.release(); // phones open one at a time
    await this.film(facingMode ? { facingMode: { ideal: facingMode === "user" ? "environment" : "user" } } : next);
  }

  // it may still be opening
  close() {
    this.closed = true;
    this.release();
  }

  release() {
    this.media?.getTracks().forEach((track) => track.stop());
  }
}

const cameras = async () => (await navigator.mediaDevices.enumerateDevices()).filter(({ kind }) => kind === "videoinput");
