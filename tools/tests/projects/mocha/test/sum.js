const assert = require("assert");

describe("sum", () => {
  it("adds", () => {});
  it("fails", () => {
    console.log("printed");
    assert.strictEqual(1, 2);
  });
  it.skip("skipped", () => {});
  describe("with a hook", () => {
    beforeEach(() => {
      throw new Error("in the hook");
    });
    it("never runs", () => {});
  });
});
