const { describe, it, test } = require('node:test');

test('quick', () => {});

describe('group', () => {
  it('slow', () => new Promise((resolve) => setTimeout(resolve, 1000)));
});
