package dirwatch_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"xexit/internal/dirwatch"
)

// guard is reached only when something hangs.
const guard = time.Minute

// follow watches dir and returns what waits until a name has been told.
func follow(t *testing.T, dir string) (await func(name string)) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	told, ended := make(chan string, 1024), make(chan error, 1)
	go func() { ended <- dirwatch.Watch(ctx, dir, func(name string) { told <- name }) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return func(want string) {
		t.Helper()
		for over := time.After(guard); ; {
			select {
			case name := <-told:
				if name == want {
					return
				}
			case err := <-ended:
				ended <- err
				t.Fatalf("it ended: %v", err)
			case <-over:
				t.Fatalf("%q was never told", want)
			}
		}
	}
}

func do(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestWatch(t *testing.T) {
	t.Parallel()
	top := t.TempDir()
	dir := filepath.Join(top, "run/xexit/logins")
	do(t, os.MkdirAll(dir, 0o755))
	await := follow(t, dir)
	await("")
	do(t, os.WriteFile(filepath.Join(dir, "one"), nil, 0o644))
	await("one")
	do(t, os.WriteFile(filepath.Join(dir, ".new"), nil, 0o644))
	do(t, os.Rename(filepath.Join(dir, ".new"), filepath.Join(dir, "two")))
	await("two")
	do(t, os.Remove(filepath.Join(dir, "one")))
	await("one")

	// Another directory under that name.
	do(t, os.Rename(dir, dir+".old"))
	await("")
	do(t, os.Mkdir(dir, 0o755))
	await("")
	do(t, os.WriteFile(filepath.Join(dir+".old", "three"), nil, 0o644))
	do(t, os.WriteFile(filepath.Join(dir, "four"), nil, 0o644))
	await("four")
}

// TestComing: none of the directories above is there yet.
func TestComing(t *testing.T) {
	t.Parallel()
	top := t.TempDir()
	dir := filepath.Join(top, "run/xexit/logins")
	await := follow(t, dir)
	do(t, os.Mkdir(filepath.Join(top, "run"), 0o755))
	do(t, os.MkdirAll(dir, 0o755))
	await("")
	do(t, os.RemoveAll(filepath.Join(top, "run")))
	await("")
	do(t, os.MkdirAll(dir, 0o755))
	await("")
	do(t, os.WriteFile(filepath.Join(dir, "one"), nil, 0o644))
	await("one")
}

func TestNoDirectory(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "file")
	do(t, os.WriteFile(file, nil, 0o644))
	await := follow(t, file) // waits: a directory may come in its place
	do(t, os.Remove(file))
	do(t, os.Mkdir(file, 0o755))
	await("")
}
