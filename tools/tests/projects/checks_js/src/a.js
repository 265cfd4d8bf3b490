const unused = 1;
if (1 == 2) {}
