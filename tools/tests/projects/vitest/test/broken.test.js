throw new Error("load error");
