// A summary of a timeline: the share of the time with speech that each emotion has.

/**
 * Return { seconds, spoken, shares } of a timeline: its length, its time with an emotion, and the share of that time
 * that each class has, 0 to 1. Segments without an emotion, as pauses have, count as no speech.
 */
export function sharesOf({ duration_seconds: seconds, classes, segments }) {
  const times = Object.fromEntries(classes.map((name) => [name, 0]));
  for (const { start_seconds, end_seconds, emotion } of segments) {
    if (emotion !== null) times[emotion] += end_seconds - start_seconds;
  }
  const spoken = Object.values(times).reduce((sum, time) => sum + time, 0);
  const shares = Object.fromEntries(classes.map((name) => [name, spoken ? times[name] / spoken : 0]));
  return { seconds, spoken, shares };
}

/**
 * Return segments for a picture in which nothing shorter than `seconds` can be seen. Runs of shorter segments become
 * one, over the pauses between them, with the emotion that has most of its time and that emotion's mean confidence.
 */
export function merged(segments, seconds) {
  const kept = [];
  let run = [];
  const close = () => { if (run.length) kept.push(joined(run)); run = []; };
  for (const segment of segments) {
    const isShort = segment.end_seconds - segment.start_seconds < seconds;
    if (!isShort || (run.length && segment.start_seconds - run.at(-1).end_seconds >= seconds)) close();
    if (!isShort) kept.push(segment);
    else if (segment.emotion !== null) run.push(segment);
    if (run.length && segment.end_seconds - run[0].start_seconds >= seconds) close();
  }
  close();
  return kept;
}

function joined(run) {
  const length = (segment) => segment.end_seconds - segment.start_seconds;
  const times = {};
  for (const segment of run) times[segment.emotion] = (times[segment.emotion] ?? 0) + length(segment);
  const [emotion] = Object.entries(times).reduce((best, entry) => (entry[1] > best[1] ? entry : best));
  const same = run.filter((segment) => segment.emotion === emotion);
  const confidence = same.reduce((sum, segment) => sum + length(segment) * segment.confidence, 0) / times[emotion];
  return { start_seconds: run[0].start_seconds, end_seconds: run.at(-1).end_seconds, emotion, confidence };
}
