package file

import "testing"

// Hold takes the folder's lock as another process would, past the turn of s, until free is called.
func Hold(t *testing.T, s *Store) (free func()) {
	t.Helper()
	other, err := New(s.root)
	if err != nil {
		t.Fatal(err)
	}
	unlock, err := other.lock(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return func() {
		unlock()
		if err := other.Close(); err != nil {
			t.Error(err)
		}
	}
}
