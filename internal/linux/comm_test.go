package linux

import (
	"os"
	"testing"
)

func TestNameProcess(t *testing.T) {
	before, err := os.ReadFile("/proc/self/comm")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { NameProcess(string(before)) })
	NameProcess("renamed")
	// Of the leader, whichever thread this is.
	if name, err := os.ReadFile("/proc/self/comm"); err != nil || string(name) != "renamed\n" {
		t.Errorf("%q, %v", name, err)
	}
}
