package x11

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

var writeCorpus = flag.Bool("write-corpus", false, "write the seed corpora anew")

// TestSeedCorpus holds the committed seeds to what the code here makes: real
// shapes, from which the fuzzer takes off.
func TestSeedCorpus(t *testing.T) {
	_, stream, _ := conversation()
	after := stream[len(setupOK()):]
	seeds := map[string]string{
		"FuzzParseName/local":     fmt.Sprintf("string(%q)", ":1.0"),
		"FuzzParseName/ipv6":      fmt.Sprintf("string(%q)", "[fe80::1%eth0]:10.1"),
		"FuzzParseName/path":      fmt.Sprintf("string(%q)", "unix:/run/x:0.1"),
		"FuzzParseName/forwarded": fmt.Sprintf("string(%q)", "localhost:10.0"),
		"FuzzAuthority/two": fmt.Sprintf("[]byte(%q)", encode(
			cookie(FamilyLocal, "host", "1", "0123456789abcdef"), cookie(FamilyInternet, "\x0a\x00\x00\x01", "0", "x"))),
		"FuzzAuthority/wild":    fmt.Sprintf("[]byte(%q)", encode(cookie(FamilyWild, "", "", "0123456789abcdef"))),
		"FuzzAuthority/short":   fmt.Sprintf("[]byte(%q)", encode(cookie(FamilyLocal, "host", "1", "abc"))[:9]),
		"FuzzSetup/consent":     fmt.Sprintf("[]byte(%q)\n[]byte(%q)", setupOK(), "\x01"),
		"FuzzSetup/refusal":     fmt.Sprintf("[]byte(%q)\n[]byte(%q)", "\x00\x04\x0b\x00\x00\x00\x01\x00nope", "\x01"),
		"FuzzSetup/dialogue":    fmt.Sprintf("[]byte(%q)\n[]byte(%q)", "\x02\x00\x0b\x00\x00\x00\x01\x00more", "\x01"),
		"FuzzStream/talk":       fmt.Sprintf("[]byte(%q)\n[]byte(%q)", after, "\x06\x01\x00"),
		"FuzzStream/oversized":  fmt.Sprintf("[]byte(%q)\n[]byte(%q)", append(reply(8, 4, nil), 1, 2, 3), "\x00\x01\x00"),
		"FuzzStream/nonsense":   fmt.Sprintf("[]byte(%q)\n[]byte(%q)", "HTTP/1.1 400 Bad Request\r\nServer: none\r\n\r\n", "\x1f\x01\x00"),
		"FuzzStream/long-event": fmt.Sprintf("[]byte(%q)\n[]byte(%q)", append([]byte{35, 0, 0, 0, 1, 0, 1, 0}, make([]byte, 64)...), "\x09\x01\x00"),
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
