import unittest


class TestA(unittest.TestCase):
    def test_ok(self):
        pass

    def test_bad(self):
        print("said before")
        self.assertEqual(1, 2, "one is not two")

    def test_error(self):
        raise KeyError("k")

    @unittest.skip("later")
    def test_skip(self):
        pass

    @unittest.expectedFailure
    def test_expected(self):
        self.fail()

    @unittest.expectedFailure
    def test_unexpected(self):
        pass

    def test_sub(self):
        for i in range(3):
            with self.subTest(i=i): self.assertNotEqual(i, 1)


class TestB(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        raise RuntimeError("no class")

    def test_never(self):
        pass
