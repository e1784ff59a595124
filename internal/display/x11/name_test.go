package x11

import (
	"errors"
	"slices"
	"testing"
)

func TestParseName(t *testing.T) {
	for _, c := range []struct {
		text string
		want Name
	}{
		{":1", Name{Number: 1}},
		{":1.0", Name{Number: 1}},
		{":12.3", Name{Number: 12, Screen: 3}},
		{"unix:1", Name{Number: 1}},
		{"host:1", Name{Host: "host", Number: 1}},
		{"localhost:10.0", Name{Host: "localhost", Number: 10}},
		{"192.168.67.20:7", Name{Host: "192.168.67.20", Number: 7}},
		{"[::1]:1", Name{Host: "::1", Number: 1}},
		{"::1:1", Name{Host: "::1", Number: 1}},
		{"[fe80::1%eth0]:2.1", Name{Host: "fe80::1%eth0", Number: 2, Screen: 1}},
		{"tcp/host:1", Name{Host: "host", Number: 1}},
		{"/path/to/socket", Name{Path: "/path/to/socket"}},
		{"unix:/path/to/socket", Name{Path: "/path/to/socket"}},
		{"/launchd/org.xquartz:3", Name{Path: "/launchd/org.xquartz:3", Number: 3}},
		{"/path/x.1", Name{Path: "/path/x.1", Screen: 1}},
		{":59535", Name{Number: 59535}},
	} {
		c.want.Text = c.text
		got, err := ParseName(c.text)
		if err != nil || got != c.want {
			t.Errorf("%q: %+v, %v; want %+v", c.text, got, err, c.want)
		}
	}
	for _, text := range []string{
		"", "1", ":", "host", "host:", ":a", ":-1", ":+1", ":1.", ":1.x", ":1.256", ":59536", ":9999999", "[::1:1", "[]:1",
		"host::1", "decnet::0", "a/b:1", ":1\x00", ":1 ", "/x\x00",
	} {
		if n, err := ParseName(text); !errors.Is(err, ErrBadName) {
			t.Errorf("%q: %+v, %v", text, n, err)
		}
	}
}

func TestSockets(t *testing.T) {
	for text, want := range map[string][]string{
		":7":           {"@/tmp/.X11-unix/X7", "/tmp/.X11-unix/X7"},
		"/run/x/sock":  {"/run/x/sock"},
		"/run/x:0":     {"/run/x:0"},
		"/run/x/s.1":   {"/run/x/s.1", "/run/x/s"},
		"/run.d/x/s":   {"/run.d/x/s"},
		"unix:/run/x1": {"/run/x1"},
	} {
		n, err := ParseName(text)
		if err != nil || !n.Local() || !slices.Equal(n.Sockets(), want) {
			t.Errorf("%q: %q, %v; want %q", text, n.Sockets(), err, want)
		}
	}
}

func FuzzParseName(f *testing.F) {
	f.Fuzz(func(t *testing.T, text string) {
		n, err := ParseName(text)
		if err != nil {
			if !errors.Is(err, ErrBadName) {
				t.Errorf("%q: %v", text, err)
			}
			return
		}
		if n.Number < 0 || n.Number > maxNumber || n.Screen < 0 || n.Screen > 255 || n.Local() && len(n.Sockets()) == 0 {
			t.Errorf("%q: %+v", text, n)
		}
	})
}
