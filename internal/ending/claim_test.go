package ending

import (
	"os"
	"path/filepath"
	"testing"
)

// Ordinary users pass through the runtime directory to the daemon's socket, also
// where an end by hand was there before the daemon.
func TestClaimLeavesTheWayToTheSocket(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "xexit")
	release, err := Host{RunDir: dir}.claimLogin("4")
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	for path, want := range map[string]os.FileMode{dir: 0o755, filepath.Join(dir, claimsDir): 0o700} {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if got := info.Mode().Perm(); got != want {
			t.Errorf("%s: %o, must be %o", path, got, want)
		}
	}
}
