package sub

import "testing"

func TestAdd(t *testing.T) {
	if Add(1, 2) != 3 {
		t.Fatal("no")
	}
}

func TestFails(t *testing.T) {
	t.Log("said before")
	t.Errorf("got %d", Add(1, 1))
	t.Run("inner case", func(t *testing.T) { t.Skip("why") })
}
