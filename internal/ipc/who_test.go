package ipc

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"xexit/internal/history"
	"xexit/internal/session"
)

// TestOwnLoginsOnly: the handler gives everything away; the server does not.
func TestOwnLoginsOnly(t *testing.T) {
	needRoot(t)
	path := run(t, newKeeper(), nil)
	for _, tt := range []struct {
		uid             uint32
		logins, records string
	}{{alice, "1 c3", "a c"}, {bob, "2", "b"}, {bob + 1, "", ""}} {
		if got := as(t, tt.uid, path, "logins"); ids(got.Logins) != tt.logins || got.Err != "" {
			t.Errorf("logins of %d: %q, %s; want %q", tt.uid, ids(got.Logins), got.Err, tt.logins)
		}
		if got := as(t, tt.uid, path, "log"); recordIDs(got.Records) != tt.records || got.Err != "" {
			t.Errorf("records of %d: %q, %s; want %q", tt.uid, recordIDs(got.Records), got.Err, tt.records)
		}
		for _, role := range []string{"logins all", "log all"} {
			if got := as(t, tt.uid, path, role); got.Kind != "denied" || got.Logins != nil || got.Records != nil {
				t.Errorf("%s of %d: %+v, want it denied", role, tt.uid, got)
			}
		}
		got := as(t, tt.uid, path, "status").Status
		if got.PID != 7 || got.Counters != nil || len(got.Conflicts) != 1 || got.Conflicts[0].Key != "logind.kills" ||
			len(got.ConfigProblems) != 1 || strings.Contains(got.ConfigProblems[0], "alice") {
			t.Errorf("status for %d: %+v, want nothing of others in it", tt.uid, got)
		}
	}
	c := here(path)
	if got, err := c.Logins(t.Context(), true); ids(got) != "1 2 c3" {
		t.Errorf("all logins for root: %q, %v", ids(got), err)
	}
	if got, err := c.Logins(t.Context(), false); ids(got) != "" || err != nil {
		t.Errorf("root's own logins: %q, %v", ids(got), err)
	}
	if got, err := c.Log(t.Context(), true, LogQuery{}); recordIDs(got) != "a b c" {
		t.Errorf("all records for root: %q, %v", recordIDs(got), err)
	}
	if got, err := c.Status(t.Context()); got.Counters["logins"] != 3 || len(got.Conflicts) != 3 || !strings.Contains(got.ConfigProblems[0], "alice") {
		t.Errorf("status for root: %+v, %v", got, err)
	}
}

// TestWhoIsAskedFor: only who wants to see logins has the daemon look for their
// processes, and hears of his own.
func TestWhoIsAskedFor(t *testing.T) {
	needRoot(t)
	k := newKeeper()
	path := run(t, k, nil)
	for uid, want := range map[uint32]string{alice: "c3", bob: ""} {
		got := as(t, uid, path, "logins")
		var looked string
		for _, l := range got.Logins {
			if l.Looked {
				looked += l.ID
			}
		}
		if looked != want || got.Err != "" {
			t.Errorf("%d sees the processes of %q, want %q (%s)", uid, looked, want, got.Err)
		}
	}
	as(t, alice, path, "end c3")
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.looks != 2 {
		t.Errorf("looked %d times, want 2: the end of a login needs none", k.looks)
	}
}

// TestAnothersLogin: nobody ends it, and nobody is told whether there is one.
func TestAnothersLogin(t *testing.T) {
	needRoot(t)
	k := newKeeper()
	path := run(t, k, nil)
	theirs, none := as(t, bob, path, "end 1"), as(t, bob, path, "end 99")
	if theirs.Kind != "no-login" || theirs.Err != none.Err || none.Kind != theirs.Kind {
		t.Errorf("alice's login: %q (%s); one that there is not: %q (%s); want the same refusal", theirs.Err, theirs.Kind, none.Err, none.Kind)
	}
	if got := as(t, bob, path, "end 2"); got.Err != "" || !got.Result.Verified || len(got.Steps) != 2 {
		t.Errorf("his own: %+v", got)
	}
	if _, err := here(path).End(t.Context(), "1", EndRequest{Reason: session.ReasonLimit}, nil); err != nil {
		t.Errorf("root ends alice's login: %v", err)
	}
	if got := k.endedLogins(); got != "2 1" || k.by[0] != bob || k.by[1] != 0 {
		t.Errorf("ended %q by %v, want bob's by bob and alice's by root", got, k.by)
	}
}

// TestForgedMessages: nothing that a message says makes its sender another.
func TestForgedMessages(t *testing.T) {
	needRoot(t)
	k := newKeeper()
	path := run(t, k, nil)
	messages := []string{
		`{"v":1,"op":"logins","uid":0}`,
		`{"v":1,"op":"logins","uid":61001}`,
		`{"v":1,"op":"logins","all":true}`,
		`{"v":1,"op":"logins","ALL":true}`,
		`{"v":1,"op":"logins","all":false,"all":true}`,
		`{"v":1,"op":"end","login":"1","end":{"reason":"requested"},"caller":0}`,
		`{"v":1,"op":"end","login":"1","end":{"reason":"requested"}}`,
		`{"v":1,"op":"end","login":"2","end":{"reason":"link-lost"}}`,
		`{"v":1,"op":"end","login":"../1","end":{"reason":"requested"}}`,
		`{"v":1,"op":"end","login":"2\u0000","end":{"reason":"requested"}}`,
		`{"v":1,"op":"end","login":"2","end":{"reason":"requested","uid":61001}}`,
		`{"v":1,"op":"end","login":"2"}`,
		`{"v":1,"op":"end","login":["1"],"end":{"reason":"requested"}}`,
		`{"v":1,"op":"log","all":true,"log":{}}`,
		`{"v":1,"op":"log","log":{"count":-1}}`,
		`{"v":1,"op":"log"}`,
		`{"v":1,"op":"logins","login":"1"}`,
		`{"v":1,"op":"logins"} {"v":1,"op":"logins","all":true}`,
		`{"v":1,"result":{"exit":0}}`,
		`{"v":2,"op":"logins"}`, `{"v":"1","op":"logins"}`, `{"op":"logins"}`, `{"v":1}`, `[]`, `null`, ``, `{`, "\x00\xff",
		`{"v":1,"op":"logins","all":` + strings.Repeat("[", 3000),
		strings.Repeat("a", MaxRequest),
	}
	var quoted []string
	for _, m := range messages {
		quoted = append(quoted, strconv.Quote(m))
	}
	answers := as(t, bob, path, "raw "+strings.Join(quoted, "\n")).Each
	if len(answers) != len(messages) {
		t.Fatalf("%d answers to %d messages", len(answers), len(messages))
	}
	for i, got := range answers {
		if got.Err == "" || got.Logins != nil || got.Kind == "failed" {
			t.Errorf("%.80q: %q (%s), logins %q; want a refusal that says why", messages[i], got.Err, got.Kind, ids(got.Logins))
		}
	}
	if got := k.endedLogins(); got != "" {
		t.Errorf("ended: %q", got)
	}
}

// TestVersion: the refusal names both versions.
func TestVersion(t *testing.T) {
	path := run(t, newKeeper(), nil)
	var out said
	err := raw(path, `{"v":2,"something":{"quite":"else"}}`, &out)
	wantErr(t, "version 2", err, ErrVersion)
	if err != nil && !strings.Contains(err.Error(), "version 2, known is 1") {
		t.Errorf("version 2: %q", err)
	}
}

// TestRootOfAUserNamespace: whoever is root in a namespace of his own is
// himself here.
func TestRootOfAUserNamespace(t *testing.T) {
	needRoot(t)
	path := run(t, newKeeper(), nil)
	inner := func(role string) said {
		cmd := roleCommand(t, bob, path, role)
		cmd.SysProcAttr = &syscall.SysProcAttr{
			Cloneflags:  syscall.CLONE_NEWUSER,
			Credential:  &syscall.Credential{NoSetGroups: true},
			UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: bob, Size: 1}},
			GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: bob, Size: 1}},
		}
		// The daemon's uid, 0, has no name in there.
		cmd.Env = append(cmd.Env, roleVar+"_SERVER=65534")
		return decodeSaid(t, cmd)
	}
	if got := inner("logins"); got.UID != 0 || ids(got.Logins) != "2" {
		t.Errorf("root of his own namespace: uid %d sees %q (%s), want bob's login", got.UID, ids(got.Logins), got.Err)
	}
	if got := inner("logins all"); got.Kind != "denied" {
		t.Errorf("all logins: %+v, want it denied", got)
	}
}

// TestInnerErrors: what goes wrong inside is for root and the log.
func TestInnerErrors(t *testing.T) {
	needRoot(t)
	var mu sync.Mutex
	var troubles []string
	path := run(t, &broken{}, func(s *Server) {
		s.Trouble = func(err error) {
			mu.Lock()
			defer mu.Unlock()
			troubles = append(troubles, err.Error())
		}
	})
	for _, role := range []string{"logins", "log"} {
		if got := as(t, bob, path, role); got.Kind != "failed" || strings.Contains(got.Err, "alice") {
			t.Errorf("%s: %q (%s), want nothing about alice", role, got.Err, got.Kind)
		}
	}
	if _, err := here(path).Logins(t.Context(), true); err == nil || !strings.Contains(err.Error(), "alice") {
		t.Errorf("for root: %v, want it all", err)
	}
	mu.Lock()
	defer mu.Unlock()
	if len(troubles) != 2 || !strings.Contains(troubles[0], fmt.Sprint(bob)) || !strings.Contains(troubles[0], "alice") {
		t.Errorf("reported: %q", troubles)
	}
}

// broken fails at everything.
type broken struct{ keeper }

var errInner = errors.New("login 1 of alice: the disk is full")

func (*broken) Logins(context.Context, LoginQuery) ([]Login, error)  { return nil, errInner }
func (*broken) Log(uint32, bool, LogQuery) ([]history.Record, error) { return nil, errInner }
