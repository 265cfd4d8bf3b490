// Drives the server with the official TypeScript SDK (the v2 client, or the v1 package) and prints what it saw as JSON.
//
// Usage: drive.mjs PACKAGE MODE VERSION SERVER WORKSPACE. PACKAGE is `client` or `sdk`; MODE is the v2 client's version
// negotiation. Runs in the folder where the packages are installed. The first step that fails ends it.
import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';
import path from 'node:path';

const [, , kind, mode, version, command, workspace] = process.argv;
const require = createRequire(path.join(process.cwd(), 'package.json'));
const load = (name) => import(pathToFileURL(require.resolve(name)));

const v2 = kind === 'client';
const { Client } = await load(v2 ? '@modelcontextprotocol/client' : '@modelcontextprotocol/sdk/client/index.js');
const { StdioClientTransport } = await load(
  v2 ? '@modelcontextprotocol/client/stdio' : '@modelcontextprotocol/sdk/client/stdio.js',
);

const inherited = ['PATH', 'HOME', 'LANG', 'XDG_STATE_HOME', 'XDG_CONFIG_HOME', 'CARGO_HOME', 'RUSTUP_HOME'];
const env = Object.fromEntries(inherited.filter((name) => name in process.env).map((name) => [name, process.env[name]]));
// The SDK complains on these about schemas that it does not fully understand.
const complaints = [];
console.warn = console.error = (...words) => complaints.push(words.join(' '));

const client = new Client({ name: 'product tests', version: '1' }, v2 ? { versionNegotiation: { mode } } : {});
await client.connect(new StdioClientTransport({ command, args: ['serve', '--workspace', workspace], env }));

const text = (result) => result.content.filter((block) => block.type === 'text').map((block) => block.text).join('\n');
const call = (name, args, options) => {
  const request = { name, arguments: args };
  return v2 ? client.callTool(request, options) : client.callTool(request, undefined, options);
};
const right = async (name, args, options) => {
  const result = await call(name, args, options);
  assert.ok(!result.isError, `${name}: ${text(result)}`);
  assert.ok(result.structuredContent && text(result), `${name} tells only one way`);
  return result;
};
const refused = async (name, args) => {
  const result = await call(name, args);
  assert.ok(result.isError && text(result).length > 10, `${name}: ${JSON.stringify(result)}`);
  return text(result);
};

const seen = {};
if (v2) assert.equal(client.getNegotiatedProtocolVersion(), version);
seen.server = client.getServerVersion()?.name;
const { tools } = await client.listTools();
seen.tools = tools.map((tool) => tool.name);
for (const tool of tools) assert.ok(tool.description && tool.annotations && tool.outputSchema, tool.name);

assert.match(text(await right('read_file', { path: 'greet.py' })), /def greet/);
await right('write_file', { path: 'new/note.txt', content: 'from node\n' });
await right('edit_file', { path: 'greet.py', old_string: 'Hello', new_string: 'Good day' });
assert.match(text(await right('search_files', { pattern: 'Good day' })), /greet\.py/);

const failed = await call('run_tests', { runner: 'unittest', path: 'tests' });
assert.match(text(failed), /test_greets/);
seen.failed = failed.structuredContent.counts.failed;
await right('edit_file', { path: 'greet.py', old_string: 'Good day', new_string: 'Hello' });
seen.passed = (await right('run_tests', { runner: 'unittest', path: 'tests' })).structuredContent.counts.passed;

seen.errors = [
  await refused('read_file', { path: '../outside/canary' }),
  await refused('read_file', { path: 'no/such/file' }),
  await refused('read_file', { paht: 'greet.py' }),
  await refused('edit_file', { path: 'greet.py', old_string: 'absent', new_string: 'x' }),
];

// This run outlasts the time between two pieces of news; a quick one may end before there are any.
const progress = [];
const stop = new AbortController();
let stopped;
await assert.rejects(
  call('run_tests', { runner: 'unittest', path: 'slow' }, {
    signal: stop.signal,
    onprogress: (news) => {
      progress.push(news);
      if (news.message?.includes('second') && !stop.signal.aborted) {
        stopped = performance.now();
        stop.abort('test');
      }
    },
  }),
);
await right('read_file', { path: 'greet.py' });
seen.after_cancel_seconds = (performance.now() - stopped) / 1000;
seen.progress = progress.length;
seen.complaints = complaints;
await client.close();
process.stdout.write(`${JSON.stringify(seen)}\n`);
