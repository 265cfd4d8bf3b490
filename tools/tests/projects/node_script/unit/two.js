import test from 'node:test';

test('divides', () => {});
