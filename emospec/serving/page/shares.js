// A timeline summed up: how much of the time with speech has each emotion.

/**
 * A timeline of the server -> { seconds, spoken, shares }: its length, its time with an emotion, and of that the share
 * of each class, 0 to 1. Segments without an emotion, as pauses have, count as no speech.
 */
export function sharesOf({ duration_seconds: seconds, classes, segments }) {
  const times = Object.fromEntries(classes.map((name) => [name, 0]));
  for (const { start_seconds, end_seconds, emotion } of segments) {
    if (emotion !== null) times[emotion] += end_seconds - start_seconds;
  }
  const spoken = Object.values(times).reduce((sum, one) => sum + one, 0);
  const shares = Object.fromEntries(classes.map((name) => [name, spoken ? times[name] / spoken : 0]));
  return { seconds, spoken, shares };
}

/**
 * Segments for a picture in which `seconds` are the least that can be seen: runs of shorter ones become one, over the
 * pauses between them, with the emotion that has most of its time and that emotion's mean confidence.
 */
export function merged(segments, seconds) {
  const kept = [];
  let run = [];
  const close = () => { if (run.length) kept.push(joined(run)); run = []; };
  for (const one of segments) {
    const isShort = one.end_seconds - one.start_seconds < seconds;
    if (!isShort || (run.length && one.start_seconds - run.at(-1).end_seconds >= seconds)) close();
    if (!isShort) kept.push(one);
    else if (one.emotion !== null) run.push(one);
    if (run.length && one.end_seconds - run[0].start_seconds >= seconds) close();
  }
  close();
  return kept;
}

function joined(run) {
  const length = (one) => one.end_seconds - one.start_seconds;
  const times = {};
  for (const one of run) times[one.emotion] = (times[one.emotion] ?? 0) + length(one);
  const [emotion] = Object.entries(times).reduce((best, one) => (one[1] > best[1] ? one : best));
  const same = run.filter((one) => one.emotion === emotion);
  const confidence = same.reduce((sum, one) => sum + length(one) * one.confidence, 0) / times[emotion];
  return { start_seconds: run[0].start_seconds, end_seconds: run.at(-1).end_seconds, emotion, confidence };
}
