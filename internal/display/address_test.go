package display

import (
	"bytes"
	"context"
	"net/netip"
	"os/exec"
	"testing"

	"xexit/internal/display/x11"
)

func TestParseIP(t *testing.T) {
	for _, text := range []string{
		"127.0.0.1", "0.0.0.0", "255.255.255.255", "::", "::1", "1::", "fe80::1", "2001:db8::7:8", "1:2:3:4:5:6:7:8", "::ffff:10.0.0.1",
		"64:ff9b::192.0.2.33", "1:2:3:4:5:6:1.2.3.4", "ABCD::ef",
		"", "1", "1.2.3", "1.2.3.4.5", "256.1.1.1", "01.2.3.4", "1.2.3.-4", ":", ":::", "1::2::3", "1:2:3:4:5:6:7", "1:2:3:4:5:6:7:8:9",
		"12345::", "g::", "1.2.3.4::", "::1.2.3", "1:2:3:4:5:6:7::", "::1:", ":1::", "localhost", "1:2:3:4:5:6:7:8::",
	} {
		got, _ := parseIP(text)
		var want []byte
		if a, err := netip.ParseAddr(text); err == nil {
			want = a.AsSlice()
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%q: %v, want %v", text, got, want)
		}
	}
	if ip, zone := parseIP("fe80::1%lo"); zone != 1 || len(ip) != 16 {
		t.Errorf("zone lo: %v, %d", ip, zone)
	}
	if ip, _ := parseIP("fe80::1%../../x"); ip != nil {
		t.Errorf("a path as a zone: %v", ip)
	}
}

func TestResolve(t *testing.T) {
	find := func(text string) ([]address, error) {
		n, err := x11.ParseName(text)
		if err != nil {
			t.Fatal(err)
		}
		return resolve(t.Context(), n)
	}
	for _, c := range []struct {
		text string
		n    int
		link Link
	}{
		{":1", 2, Local},
		{"unix:1", 2, Local},
		{"/x", 1, Local},
		{"localhost:1", 2, Direct},
		{"localhost:10.0", 2, Relayed},
		{"[::1]:11", 1, Relayed},
		{"127.0.0.1:9", 1, Direct},
		{"192.0.2.1:10", 1, Direct},
		{"[2001:db8::1]:1", 1, Direct},
	} {
		list, err := find(c.text)
		if err != nil || len(list) != c.n {
			t.Errorf("%s: %v, %v", c.text, list, err)
			continue
		}
		n, _ := x11.ParseName(c.text)
		if got := list[0].link(n.Number); got != c.link {
			t.Errorf("%s: link %d, want %d", c.text, got, c.link)
		}
	}
	if _, err := find("no-such-host.invalid:1"); err == nil {
		t.Error("a host that does not exist is found")
	}
	need(t, "getent")
	name, err := exec.Command("hostname").Output()
	if err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("getent", "ahosts", string(bytes.TrimSpace(name))).Output(); err == nil && len(out) > 0 {
		if list, err := find(string(bytes.TrimSpace(name)) + ":1"); err != nil || len(list) == 0 {
			t.Errorf("own host: %v, %v", list, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := lookUp(ctx, "localhost.localdomain"); err == nil {
		t.Error("a look-up outlives its context")
	}
}
