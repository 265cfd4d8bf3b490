const text: number = "x";
function takes(given: { b: string; c: number }) {
  return given;
}
takes({ b: 1, c: { d: 2 } });
export { text };
