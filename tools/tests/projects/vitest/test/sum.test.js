describe("sum", () => {
  it("adds", () => {
    expect(1 + 1).toBe(2);
  });
  it("fails", () => {
    console.log("printed");
    expect(1 + 1).toBe(3);
  });
  it.skip("skipped", () => {});
  it.todo("later");
});
