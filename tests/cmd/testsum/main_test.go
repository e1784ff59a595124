package main

import (
	"strings"
	"testing"
)

const log = `{"Action":"build-output","ImportPath":"p","Output":"# p\n"}
{"Action":"output","Package":"p","Test":"TestGood","Output":"chatter\n"}
{"Action":"pass","Package":"p","Test":"TestGood"}
{"Action":"output","Package":"p","Test":"TestBad","Output":"    x_test.go:3: wrong\n"}
{"Action":"fail","Package":"p","Test":"TestBad"}
{"Action":"output","Package":"p","Test":"TestIdle","Output":"=== RUN   TestIdle\n"}
{"Action":"output","Package":"p","Test":"TestIdle","Output":"    x_test.go:9: needs root\n"}
{"Action":"skip","Package":"p","Test":"TestIdle"}
{"Action":"output","Package":"p","Output":"FAIL\tp\t0.1s\n"}
{"Action":"fail","Package":"p"}
`

func TestSummary(t *testing.T) {
	for name, c := range map[string]struct {
		log    string
		noSkip bool
		ok     bool
		want   []string
	}{
		"failure":        {log, false, false, []string{"# p", "wrong", "FAIL\tp", "SKIPPED p TestIdle: x_test.go:9: needs root", "1 passed, 1 failed, 1 skipped"}},
		"skip refused":   {`{"Action":"skip","Package":"p","Test":"TestIdle"}`, true, false, []string{"a skip is a failure"}},
		"skip tolerated": {`{"Action":"skip","Package":"p","Test":"TestIdle"}`, false, true, []string{"no reason given"}},
		"died":           {`{"Action":"output","Package":"p","Test":"TestX","Output":"panic\n"}`, false, true, []string{"unfinished: p TestX", "panic"}},
	} {
		t.Run(name, func(t *testing.T) {
			var out strings.Builder
			s := summary{out: &out, noSkip: c.noSkip, outputs: make(map[string]*strings.Builder)}
			s.read(strings.NewReader(c.log))
			if ok := s.close(); ok != c.ok {
				t.Errorf("close() = %v, want %v", ok, c.ok)
			}
			for _, want := range c.want {
				if !strings.Contains(out.String(), want) {
					t.Errorf("no %q in:\n%s", want, out.String())
				}
			}
			if strings.Contains(out.String(), "chatter") {
				t.Errorf("output of a passed test:\n%s", out.String())
			}
		})
	}
}
