// A reporter for node:test: writes each result as one record to standard output.
//
// Loaded as a `data:` URL by `--test-reporter`, which exists from Node 18.15 (nodejs.org/api/test.html, "Custom
// reporters"). A record is U+001E, one line of JSON and a line end (RFC 7464). Nested names are joined here, since
// only the stream's order tells which test a nested one belongs to. A test begins with `test:dequeue`, which comes at
// once (Node 18.17 and later); `test:start` waits for the tests before it, and often for the test's own end.
const cut = (text, limit) => {
  text = String(text ?? '');
  if (text.length <= limit) return text;
  const half = limit >> 1;
  return `${text.slice(0, half)}\n[... ${text.length - 2 * half} characters left out ...]\n${text.slice(-half)}`;
};
const record = (fields) => `\x1e${JSON.stringify(fields)}\n`;
const failure = (error) => {
  const cause = error?.cause ?? error;
  let detail = cause?.stack ?? error?.stack ?? '';
  for (let inner = cause?.cause, depth = 0; inner && depth < 4; inner = inner.cause, depth++) {
    detail += `\ncaused by: ${inner.stack ?? inner.message ?? inner}`;
  }
  return {
    why: error?.failureType,
    message: cut(typeof cause === 'string' ? cause : (cause?.message ?? error?.message), 2000),
    detail: cut(detail, 12000),
  };
};

export default async function* (source) {
  const names = [];
  const nested = new Map();
  const begun = new Map();
  const key = ({ file, line, column, nesting, name }) => JSON.stringify([file, line, column, nesting, name]);
  for await (const { type, data } of source) {
    if (type === 'test:dequeue') {
      const path = [...(nested.get(data.file) ?? []).slice(0, data.nesting), data.name];
      nested.set(data.file, path);
      begun.set(key(data), path.join(' > '));
      yield record({ r: 'begin', name: path.join(' > '), file: data.file });
    } else if (type === 'test:start') {
      names.length = data.nesting;
      names.push(data.name);
      if (!begun.has(key(data))) yield record({ r: 'begin', name: names.join(' > ') });
    } else if (type === 'test:pass' || type === 'test:fail') {
      const path = [...names.slice(0, data.nesting), data.name];
      names.length = data.nesting;
      const fields = { r: 'test', name: path.join(' > '), file: data.file, line: data.line };
      if (begun.get(key(data)) !== fields.name) fields.begun = begun.get(key(data));
      fields.ms = data.details?.duration_ms;
      fields.suite = data.details?.type === 'suite';
      if (data.skip !== undefined) {
        fields.outcome = 'skipped';
        if (typeof data.skip === 'string') fields.message = cut(data.skip, 300);
      } else if (data.todo !== undefined) {
        fields.outcome = 'todo';
      } else if (type === 'test:pass') {
        fields.outcome = 'passed';
      } else {
        fields.outcome = 'failed';
        Object.assign(fields, failure(data.details?.error));
      }
      yield record(fields);
    } else if (type === 'test:stdout' || type === 'test:stderr') {
      yield record({ r: 'output', file: data.entryFile ?? data.file, text: cut(data.message, 8000) });
    } else if (type === 'test:diagnostic' && data.nesting === 0) {
      const count = /^(tests|suites|pass|fail|cancelled|skipped|todo|duration_ms) ([\d.]+)$/.exec(data.message);
      if (count) yield record({ r: 'count', name: count[1], value: Number(count[2]) });
    }
  }
  yield record({ r: 'end' });
}
