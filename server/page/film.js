// A video file as a source of frames (live.js), as fast as it was filmed: what the gateway cannot keep up with is left out.
import { Problem } from "./gateway.js";

export const minutes = (seconds) => `${Math.floor(seconds / 60)}:${String(Math.floor(seconds % 60)).padStart(2, "0")}`;

// it is the video's fault, which is the same however often it is asked
export class Unplayable extends Problem {}

const NEAR = 1; // seconds between a place and its frame, at the most
const LATE = 1000; // milliseconds, after which no frame is waited for: of a page that is not seen none is drawn

export class Film {
  noun = "video";
  stop = "Pause the video";

  // chosen: what the visitor should know of it; opened: this browser plays it; shown: the second whose frame is seen;
  // wanted: that which the visitor went to and has not seen yet; length: seconds, as far as they are known
  constructor(file, chosen = "") {
    Object.assign(this, { file, name: file.name, chosen, opened: false, shown: null, wanted: null, length: null });
    this.video = document.createElement("video");
    Object.assign(this.video, { muted: true, playsInline: true, preload: "auto" });
    this.video.addEventListener("ended", () => this.video.ended && this.end?.(null)); // it may have been sent back since
    this.video.addEventListener("error", () => this.end?.(this.problem())); // in the middle of it, too
    this.video.addEventListener("durationchange", () => Number.isFinite(this.video.duration) && (this.length = this.video.duration));
  }

  // where it was paused, or at the beginning
  async open(end) {
    this.end = end;
    const { video } = this;
    if (!video.src) {
      this.expect();
      video.src = URL.createObjectURL(this.file);
    }
    await this.go(video.ended ? 0 : this.second);
    if (!video.videoWidth) throw this.problem(); // sound alone
    this.opened = true;
  }

  async run() {
    if (!this.end) return;
    await this.video.play().catch(({ name }) => {
      if (name !== "AbortError") throw this.problem(); // it has come to its end, or was paused, before it began
    });
  }

  // A browser gives up all of a video where it is damaged: read anew, it has its other places again.
  async go(seconds) {
    const { video } = this;
    if (video.error) {
      this.expect();
      video.load();
    }
    this.jump(seconds);
    await drawable(video).catch(() => Promise.reject(this.problem(seconds)));
    await Promise.race([this.drawn, new Promise((done) => setTimeout(done, LATE))]);
  }

  jump(seconds) {
    if (this.video.currentTime === seconds) return; // no other frame comes
    this.expect();
    this.video.currentTime = seconds;
  }

  // A browser says that it is at a place before the frame of that place can be drawn; and one of the place before may
  // still be drawn while it goes there.
  expect() {
    const { video } = this;
    this.drawn = new Promise((done) => {
      const look = (_, { mediaTime }) => {
        const old = video.seeking && Math.abs(mediaTime - video.currentTime) > NEAR;
        return old ? video.requestVideoFrameCallback(look) : done();
      };
      video.requestVideoFrameCallback(look);
    });
  }

  // The frame at this second of a paused video, for `still`.
  async seek(seconds) {
    await this.go(seconds);
    return this.video;
  }

  // goes there while it plays
  move(seconds) {
    this.video.currentTime = this.wanted = seconds;
  }

  // of the frame that is drawn now: its second, and whether it is what the visitor wanted
  place(time = this.video.currentTime) {
    return { time, wanted: this.video.seeking ? undefined : this.wanted };
  }

  seen({ time, wanted }) {
    this.shown = time;
    if (wanted === this.wanted) this.wanted = null;
  }

  // paused, it is where the frame is that is seen, however late that came
  rest() {
    this.wanted = null;
    const { video, shown } = this;
    if (shown !== null && !video.error) this.jump(shown);
  }

  get second() {
    return this.video.error ? this.shown ?? 0 : this.video.currentTime;
  }

  problem(seconds = this.video.currentTime) {
    const damaged = `is damaged at ${minutes(seconds)}, or was changed: choose another place in it, or the file again`;
    const unknown = "is no video that this browser plays. parsing-rcnn annotate reads more kinds, and every frame";
    return new Unplayable({ detail: `“${this.name}” ${this.opened && this.video.error ? damaged : unknown}` });
  }

  // it can be opened again, and may be already: then it is not of who has closed it
  close(end) {
    if (end !== this.end) return;
    this.end = null;
    this.video.pause();
  }

  // until it is opened again
  discard() {
    this.close(this.end);
    URL.revokeObjectURL(this.video.src);
    this.video.removeAttribute("src");
    this.video.load();
    Object.assign(this, { opened: false, shown: null, wanted: null });
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
