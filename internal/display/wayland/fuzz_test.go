package wayland

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// FuzzStream: whatever comes, in one piece or split anywhere, means the same,
// is bounded, and ends in no worse than an error.
func FuzzStream(f *testing.F) {
	f.Add(conversation(), byte(9))
	f.Fuzz(func(t *testing.T, stream []byte, split byte) {
		var whole, parts Conn
		whole.Sync()
		parts.Sync()
		answered, err := whole.Feed(stream)
		again, errAgain := false, error(nil)
		for piece := range bytes.SplitAfterSeq(stream, []byte{split}) {
			var one bool
			one, errAgain = parts.Feed(piece)
			again = again || one
			if cap(parts.in) > 2*maxKept {
				t.Fatalf("%d bytes kept", cap(parts.in))
			}
		}
		if fmt.Sprint(err) != fmt.Sprint(errAgain) || answered != again || !bytes.Equal(whole.in, parts.in) || whole.left != parts.left {
			t.Fatalf("whole: %v, %v; in parts: %v, %v", answered, err, again, errAgain)
		}
		var fatal *FatalError
		if err != nil && !errors.Is(err, ErrProtocol) && (!errors.As(err, &fatal) || len(fatal.Text) > MaxText) {
			t.Fatal(err)
		}
		if answered != (whole.callback == 0) {
			t.Fatalf("answered %v, waiting for %d", answered, whole.callback)
		}
	})
}

// FuzzPath: what is accepted is absolute, short enough, and its own name.
func FuzzPath(f *testing.F) {
	f.Add("wayland-0", "/run/user/1000")
	f.Fuzz(func(t *testing.T, name, dir string) {
		path, err := Path(name, dir)
		if err != nil {
			if !errors.Is(err, ErrBadName) {
				t.Fatal(err)
			}
			return
		}
		if again, err := Path(path, dir); again != path || err != nil || !filepath.IsAbs(path) || len(path) > maxPath {
			t.Fatalf("%q is then %q, %v", path, again, err)
		}
	})
}

var writeCorpus = flag.Bool("write-corpus", false, "write the seed corpora anew")

// TestSeedCorpus holds the committed seeds to what the code here makes: real
// shapes, from which the fuzzer takes off.
func TestSeedCorpus(t *testing.T) {
	seeds := map[string]string{
		"FuzzStream/talk":      fmt.Sprintf("[]byte(%q)\nbyte(%q)", conversation(), rune(2)),
		"FuzzStream/answer":    fmt.Sprintf("[]byte(%q)\nbyte(%q)", join(event(2, 0, 1), event(1, 1, 2)), rune(0)),
		"FuzzStream/error":     fmt.Sprintf("[]byte(%q)\nbyte(%q)", failure(4, 2, "not permitted"), rune('n')),
		"FuzzStream/oversized": fmt.Sprintf("[]byte(%q)\nbyte(%q)", join(event(9, 0)[:4], []byte{0, 0, 252, 255}, make([]byte, 40)), rune(9)),
		"FuzzStream/nonsense":  fmt.Sprintf("[]byte(%q)\nbyte(%q)", "HTTP/1.1 400 Bad Request\r\n\r\n", rune(31)),
		"FuzzPath/relative":    fmt.Sprintf("string(%q)\nstring(%q)", "wayland-0", "/run/user/1000"),
		"FuzzPath/absolute":    fmt.Sprintf("string(%q)\nstring(%q)", "/tmp/../run/w", ""),
	}
	for name, value := range seeds {
		path := filepath.Join("testdata", "fuzz", filepath.FromSlash(name))
		text := "go test fuzz v1\n" + value + "\n"
		if *writeCorpus {
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if have, err := os.ReadFile(path); err != nil || string(have) != text {
			t.Errorf("%s is not what the code makes (go test -run SeedCorpus -write-corpus): %v", path, err)
		}
	}
}
