// A source of frames (webcam.js, film.js) -> WS /v1/stream -> people. At most two frames are on their way: one in work,
// one waiting for its turn.
import { Problem, Silence, frame, get, stream } from "./gateway.js";

const LONGEST = 960; // pixels: the network sees fewer
const ON_THE_WAY = 2;
const GIVE_UP = 30; // seconds without an answer, after which this is stopped

export class Live {
  // source: {video, noun, open(end): its first frame can be drawn, run(): frames may come, close(end)}, and where frames
  // have places: place(second of the frame that is drawn); it calls end(error) when no more frames come, with null where
  // that is no error.
  // await onAnswer(answer, bitmap, milliseconds, place) is called for every frame that came back, onNotice(text) when
  // there is something to wait for ("" when that is over), onStop(error or null) once; anew() has the query to ask with
  // where a stream was refused for its options, or null
  constructor(source, onAnswer, onNotice, onStop, anew) {
    Object.assign(this, { source, onAnswer, onNotice, onStop, anew });
    Object.assign(this, { number: 0, skipped: 0, dropped: 0, sent: new Map(), ended: false, last: false, stopped: false });
    this.over = (error) => (error ? this.stop(error) : this.end());
    Object.assign(this, { silence: new Silence((text) => this.say(text)), until: 0, said: "" }); // until: when to send again
  }

  // it may be stopped while the browser asks: what comes open after that is closed at once
  async start(query) {
    if (this.stopped) return;
    await this.source.open(this.over);
    if (this.stopped) return this.source.close(this.over);
    this.query ??= query; // others may have been asked for meanwhile
    this.run();
  }

  connect() {
    const socket = (this.socket = stream(this.query));
    const own = (act) => (event) => socket === this.socket && act(event);
    socket.addEventListener("open", own(() => this.opened(socket)));
    socket.addEventListener("message", own((event) => this.answered(JSON.parse(event.data))));
    socket.addEventListener("close", own(() => this.closed()));
  }

  // other options: another stream, of the same source, when the old one has given its place back
  ask(query) {
    const old = this.socket;
    if (!old) return void (this.query = query); // another stream is to come already
    Object.assign(this, { query, socket: null, last: false });
    this.sent.clear();
    old.addEventListener("close", () => this.stopped || this.connect());
    old.close();
  }

  async opened(socket) {
    if (this.ended) return this.end();
    this.watch(socket);
    await this.source.run().catch((error) => this.stop(error));
  }

  watch(socket, second) {
    if (this.stopped || this.ended || socket !== this.socket) return;
    this.source.video.requestVideoFrameCallback((_, { mediaTime }) => this.watch(socket, mediaTime));
    if (this.free) this.send(second);
    else this.skipped++;
  }

  get free() {
    return this.sent.size < ON_THE_WAY && performance.now() >= this.until;
  }

  async send(second) {
    const { video } = this.source;
    if (video.readyState < HTMLMediaElement.HAVE_CURRENT_DATA) return;
    const [number, socket] = [this.number++, this.socket];
    const scale = Math.min(1, LONGEST / Math.max(video.videoWidth, video.videoHeight));
    const [width, height] = [video.videoWidth, video.videoHeight].map((side) => Math.round(side * scale));
    const taken = { at: performance.now(), bitmap: null, place: this.source.place?.(second) };
    this.sent.set(number, taken);
    const canvas = new OffscreenCanvas(width, height);
    canvas.getContext("2d").drawImage(video, 0, 0, width, height);
    const blob = await canvas.convertToBlob({ type: "image/jpeg", quality: 0.85 });
    taken.bitmap = canvas.transferToImageBitmap();
    const message = frame(number, await blob.arrayBuffer());
    // meanwhile the stream may have ended, or another begun, whose frames are others
    if (socket === this.socket && socket?.readyState === WebSocket.OPEN) socket.send(message);
  }

  answered(answer) {
    if (this.stopped) return;
    this.dropped = answer.dropped;
    this.silence.count(false);
    const problem = answer.problem && new Problem(answer.problem, answer.problem.status);
    const wait = answer.problem?.retry_after; // seconds, where time heals
    if (problem && wait === undefined) return this.stop(problem);
    const taken = this.sent.get(answer.frame_id);
    for (const number of this.sent.keys()) if (number <= answer.frame_id) this.sent.delete(number);
    const now = performance.now();
    if (problem) {
      this.until = now + 1000 * wait;
      this.say(`${problem.reason}. The next frame is sent in ${wait} s.`);
    } else {
      if (now >= this.until) this.say("");
      if (taken) this.shown = this.onAnswer(answer, taken.bitmap, now - taken.at, taken.place);
    }
    if (this.ended) this.end(problem || null);
  }

  // No more frames come: what is on its way is waited for, and the last frame is sent as soon as that may be; it is what
  // is seen then, and a browser does not tell whether it was sent before.
  end(error = null) {
    if (this.stopped) return;
    this.ended = true;
    if (this.socket?.readyState !== WebSocket.OPEN) return; // `opened` comes here again
    if (!this.last && this.free) {
      this.last = true;
      this.send();
    }
    if (this.last && this.sent.size === 0) this.finish(error);
  }

  // when the last answer is seen, which has to be decoded first
  async finish(error = null) {
    await Promise.resolve(this.shown).catch(() => {});
    this.stop(error);
  }

  say(text) {
    if (text !== this.said) this.onNotice((this.said = text));
  }

  // every second
  tick() {
    if (this.ended) this.end(); // it may have had to wait
    this.silence.count(this.sent.size > 0 || this.socket?.readyState !== WebSocket.OPEN);
    if (this.silence.seconds >= GIVE_UP) this.stop(new Problem({ detail: `${this.silence.text}: the ${this.source.noun} was stopped.` }));
  }

  // a browser does not tell why a WebSocket was refused, a request by HTTP does
  async closed() {
    if (this.stopped) return;
    clearInterval(this.clock); // the visitor may be asked for a key now
    this.socket = null;
    const why = "all places may be taken, or a proxy in between passes no WebSockets. Try again in a moment.";
    const opened = this.number > 0;
    let error = new Problem({ detail: opened ? "The stream was closed by the gateway." : `The stream could not be opened: ${why}` });
    const query = await get("/v1/models").then(this.anew).catch((reason) => ((error = reason), null));
    if (this.stopped) return;
    if (!query) return this.stop(error);
    Object.assign(this, { query, last: false });
    this.sent.clear();
    this.silence.count(false);
    this.run();
  }

  run() {
    this.clock = setInterval(() => this.tick(), 1000);
    this.connect();
  }

  stop(error = null) {
    if (this.stopped) return;
    this.stopped = true;
    clearInterval(this.clock);
    this.socket?.close();
    this.source.close(this.over);
    this.onStop(error);
  }
}
