// A video file as a source of frames (live.js), as fast as it was filmed: what the gateway cannot keep up with is left out.
import { Problem } from "./gateway.js";

export class Film {
  noun = "video";
  stop = "Pause the video";

  constructor(file) {
    this.name = file.name; // of what is saved
    this.video = document.createElement("video");
    Object.assign(this.video, { muted: true, playsInline: true, preload: "auto", src: URL.createObjectURL(file) });
    this.unreadable = new Problem({
      detail: `“${file.name}” is no video that this browser plays. parsing-rcnn annotate reads more kinds, and every frame`,
    });
    this.video.addEventListener("ended", () => this.end?.(null));
    this.video.addEventListener("error", () => this.end?.(this.unreadable)); // in the middle of it, too
  }

  // where it was paused, or at the beginning
  async open(end) {
    this.end = end;
    const { video } = this;
    if (video.error) throw this.unreadable;
    if (video.ended) video.currentTime = 0;
    await drawable(video).catch(() => Promise.reject(this.unreadable));
    if (!video.videoWidth) throw this.unreadable; // sound alone
  }

  async run() {
    if (!this.end) return;
    await this.video.play().catch(({ name }) => {
      if (name !== "AbortError") throw this.unreadable; // it has come to its end, or was paused, before it began
    });
  }

  // The frame at this second of a paused video, for `still`.
  async seek(seconds) {
    this.video.currentTime = seconds;
    await drawable(this.video).catch(() => Promise.reject(this.unreadable));
    return this.video;
  }

  // it can be opened again, and may be already: then it is not of who has closed it
  close(end) {
    if (end !== this.end) return;
    this.end = null;
    this.video.pause();
  }

  discard() {
    this.close(this.end);
    URL.revokeObjectURL(this.video.src);
    this.video.removeAttribute("src");
    this.video.load();
  }
}

// whether its frame of now is there to be drawn
function drawable(video) {
  const ready = () => !video.seeking && video.readyState >= HTMLMediaElement.HAVE_CURRENT_DATA;
  if (ready()) return Promise.resolve();
  return new Promise((done, fail) => {
    const events = ["loadeddata", "seeked", "canplay"];
    const look = () => ready() && end(done);
    const broken = () => end(fail);
    const end = (then) => {
      for (const name of events) video.removeEventListener(name, look);
      video.removeEventListener("error", broken);
      then();
    };
    for (const name of events) video.addEventListener(name, look);
    video.addEventListener("error", broken);
  });
}
