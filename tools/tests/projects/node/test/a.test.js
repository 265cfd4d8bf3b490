import assert from 'node:assert';
import net from 'node:net';
import test, { describe, it } from 'node:test';

test('adds', () => assert.equal(1 + 1, 2));

test('fails', () => {
  console.log('before failing');
  assert.equal(1 + 1, 3);
});

test('deep', () => assert.deepStrictEqual({ a: [1, 2] }, { a: [1, 3] }));

test('parent', async (t) => {
  await t.test('child passes', () => {});
  await t.test('child fails', () => {
    throw new Error('boom\nsecond line');
  });
});

describe('suite', () => {
  it('inner', () => {});
  it('inner skipped', { skip: 'not here' }, () => {});
  it('inner todo', { todo: true }, () => { throw new Error('still to do'); });
  describe('nested', () => {
    it('deep inner', async () => {
      await Promise.resolve();
      throw new TypeError('no type');
    });
    it('connects', () => new Promise((resolve, reject) => net.connect(9, '127.0.0.1', resolve).on('error', reject)));
  });
});
