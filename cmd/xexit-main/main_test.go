package main

import (
	"os"
	"testing"
)

func TestNameProcess(t *testing.T) {
	before, err := os.ReadFile("/proc/self/comm")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.WriteFile("/proc/self/comm", before, 0) })
	nameProcess()
	if name, err := os.ReadFile("/proc/self/comm"); err != nil || string(name) != "xexit-main\n" {
		t.Errorf("%q, %v", name, err)
	}
}
