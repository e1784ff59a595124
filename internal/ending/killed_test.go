package ending

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"xexit/internal/session"
)

// Killed at any step and run again: the end is carried out, nothing stays
// frozen, and the record has it once.
func TestEndLoginKilled(t *testing.T) {
	for _, step := range session.Steps() {
		t.Run(string(step), func(t *testing.T) {
			h := newEndHost(t)
			h.leader = h.start("", 0, waits)
			keeper := h.keeps()
			deaf, obedient := h.start(h.scope, loginUID, stubborn), h.start(h.scope, loginUID, waits)
			h.hook(h.config.Hooks.Dir, "10-user", "echo user")
			h.hook(h.config.Hooks.RootDir, "10-root", "echo root")
			r := h.request()

			h.fault = step
			first := h.child(r)
			first.until(step)
			if err := first.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			_ = first.Wait()

			h.fault = ""
			result := h.child(r).over()
			if result.Exit != 0 || !result.Verified || result.Kept != 1 {
				t.Errorf("%+v", result)
			}
			if deaf.lives() || obedient.lives() || !keeper.lives() || h.frozen() {
				t.Errorf("deaf lives %v, obedient lives %v, kept lives %v, frozen %v", deaf.lives(), obedient.lives(), keeper.lives(), h.frozen())
			}
			h.mustBeRecordedOnce(r.Record)
			if begun := step != session.StepClaim && step != session.StepDone; h.record(r.Record).Resumed != begun {
				t.Errorf("resumed %v, expected %v", !begun, begun)
			}
			again := h.child(r)
			if same := again.over(); same.Exit != 0 || same.Kept != 1 || same.Ended != result.Ended {
				t.Errorf("once more: %+v, expected %+v", same, result)
			}
			h.mustBeRecordedOnce(r.Record)
			if left, _ := os.ReadDir(filepath.Join(h.RunDir, claimsDir)); len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}

// The same at whatever instant: XEXIT_KILLS says how often it is tried. The
// instants are spread over the time that an end takes here and now.
func TestEndLoginKilledAnytime(t *testing.T) {
	kills := 6
	if text := os.Getenv("XEXIT_KILLS"); text != "" {
		if _, err := fmt.Sscan(text, &kills); err != nil {
			t.Fatal(err)
		}
	}
	var whole time.Duration
	for i := range kills + 1 {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			h := newEndHost(t)
			keeper := h.keeps()
			deaf, obedient := h.start(h.scope, loginUID, stubborn), h.start(h.scope, loginUID, waits)
			r := h.request()
			began := time.Now()
			first := h.child(r)
			if i == 0 {
				first.over()
				whole = time.Since(began)
			} else {
				<-time.After(whole * time.Duration(i) / time.Duration(kills+1))
				_ = first.Process.Kill() // it may be over
				_ = first.Wait()
			}
			result := h.child(r).over()
			if result.Exit != 0 || !result.Verified || deaf.lives() || obedient.lives() || !keeper.lives() || h.frozen() {
				t.Errorf("killed after %d/%d of %v: %+v, deaf lives %v, obedient lives %v, kept lives %v, frozen %v",
					i, kills+1, whole, result, deaf.lives(), obedient.lives(), keeper.lives(), h.frozen())
			}
			h.mustBeRecordedOnce(r.Record)
		})
	}
}
