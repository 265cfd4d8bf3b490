import test from 'node:test';

test('adds (1+1)', () => {});
test('subtracts', () => {});
