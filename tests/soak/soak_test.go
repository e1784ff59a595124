package main

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"testing"
	"time"
)

func need(t *testing.T) {
	t.Helper()
	why := ""
	if os.Geteuid() != 0 {
		why = "needs root, to make a machine of its own"
	}
	for _, tool := range []string{"Xvfb", "xauth", "ssh", "sshd", "ip", "ss", "nft", "nsenter", "setpriv"} {
		if _, err := exec.LookPath(tool); err != nil {
			why = fmt.Sprintf("%s is not installed (tests/setup.sh installs it)", tool)
		}
	}
	if why == "" {
		return
	}
	if os.Getenv("XEXIT_TEST_NO_SKIP") != "" {
		t.Fatal(why)
	}
	t.Skip(why)
}

// A minute of it. `make soak-display` is the real one.
func TestMinute(t *testing.T) {
	need(t)
	t.Parallel()
	tally, err := soak(t.Context(), options{length: time.Minute, each: 1, seed: rand.Uint64(), say: t.Logf})
	if tally != nil {
		t.Log(tally.summary())
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, kind := range []string{kindUnix, kindTCP, kindSSH} {
		if _, ends := tally.kinds[kind].all(); len(ends) == 0 {
			t.Errorf("%s: no display has really gone", kind)
		}
	}
}

// A watcher that takes a server without an answer for a dead one is found out.
func TestFalseEndsAreSeen(t *testing.T) {
	need(t)
	t.Parallel()
	tally, err := soak(t.Context(), options{length: time.Minute, each: 1, seed: 5, flags: []string{"--hung-after", "1s", "--interval", "500ms"}, say: t.Logf})
	if tally == nil {
		t.Fatal(err)
	}
	falses := 0
	for _, c := range tally.kinds {
		falses += c.falses
	}
	if falses == 0 || err == nil {
		t.Errorf("%d false ends, %v\n%s", falses, err, tally.summary())
	}
}
