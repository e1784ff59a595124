package login

import (
	"errors"
	"strings"
	"testing"
	"time"
)

func TestEncodeDecode(t *testing.T) {
	s, _ := Next(fresh(t), Fact{Kind: Closing, Record: "abc", Now: 12345 * time.Millisecond, Noticed: "x"})
	for _, s := range []State{fresh(t), s} {
		text, err := Encode(s)
		if err != nil {
			t.Fatal(err)
		}
		back, err := Decode("4", text)
		if err != nil || back != s {
			t.Errorf("%v: came back as %+v", err, back)
		}
		// Torn anywhere it is none.
		for n := range len(text) {
			if _, err := Decode("4", text[:n]); !errors.Is(err, ErrForeign) {
				t.Fatalf("the first %d of %d bytes are accepted: %v", n, len(text), err)
			}
		}
	}
}

func TestForeign(t *testing.T) {
	good, err := Encode(fresh(t))
	if err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string][2]string{
		"a later version":       {`"v":1`, `"v":2`},
		"another login's":       {`"id":"4"`, `"id":"5"`},
		"a way out":             {`"id":"4"`, `"id":"../4"`},
		"an unknown phase":      {`"phase":"open"`, `"phase":"closed"`},
		"no reason":             {`"phase":"open"`, `"phase":"ended"`},
		"no boot":               {testBoot, ``},
		"everybody's group":     {`/user.slice/user-1000.slice/session-4.scope`, `/`},
		"a group with dots":     {`/user.slice/user-1000.slice/`, `/user.slice/../`},
		"no session":            {`"session":"`, `"session":"x`},
		"two values":            {`}` + "\n", `}{}` + "\n"},
		"a number for a string": {`"id":"4"`, `"id":4`},
		"a negative leader":     {`"pid":100`, `"pid":-1`},
		"too long":              {`"alice"`, `"` + strings.Repeat("a", MaxState) + `"`},
	} {
		text := strings.Replace(string(good), change[0], change[1], 1)
		if text == string(good) {
			t.Fatalf("%s: nothing changed", name)
		}
		if _, err := Decode("4", []byte(text)); !errors.Is(err, ErrForeign) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// FuzzDecode: whatever a file holds, it is refused, or it is a state that can
// be written and read again and on which the machine works.
func FuzzDecode(f *testing.F) {
	f.Add("4", `{"v":1,"id":"4","boot":"b","session":"1b4e28ba-2fa1-41d2-883f-0016d3cca427","uid":1000,"user":"a","cgroup":"/user.slice/x","audit":17,"leader":{"pid":1,"start":2},"type":"tty","phase":"ended","reason":"logout","record":"r"}`+"\n")
	f.Add("c1", "{}\n")
	f.Add("", "\x00")
	f.Fuzz(func(t *testing.T, id, text string) {
		s, err := Decode(id, []byte(text))
		if err != nil {
			if !errors.Is(err, ErrForeign) || s != (State{}) {
				t.Errorf("%+v, %v", s, err)
			}
			return
		}
		if s.ID != id || s.Cgroup == "/" {
			t.Errorf("accepted as login %q: %+v", id, s)
		}
		again, err := Encode(s)
		if err != nil {
			t.Fatal(err)
		}
		if back, err := Decode(id, again); err != nil || back != s {
			t.Errorf("%v: %+v came back as %+v", err, s, back)
		}
		Next(s, Fact{Kind: Resumed})
	})
}

func TestSessionID(t *testing.T) {
	a, err := SessionID(testBoot, "4", 1000)
	if err != nil {
		t.Fatal(err)
	}
	same, _ := SessionID(testBoot, "4", 1000)
	other, _ := SessionID(testBoot, "5", 1000)
	boot, _ := SessionID("another", "4", 1000)
	if a != same || a == other || a == boot {
		t.Errorf("%s, %s, %s, %s", a, same, other, boot)
	}
}
