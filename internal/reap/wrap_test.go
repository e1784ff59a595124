package reap

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// numbersAt are the files that tell how far the process numbers have come.
func numbersAt(last, forks int) map[string]string {
	return map[string]string{
		"loadavg": fmt.Sprintf("0.1 0.1 0.1 1/100 %d\n", last),
		"stat":    fmt.Sprintf("cpu  1 2 3\nctxt 5\nbtime 6\nprocesses %d\nprocs_running 1\n", forks),
	}
}

func TestNumbers(t *testing.T) {
	type at struct{ last, forks int }
	for _, test := range []struct {
		name          string
		before, after at
		limit         string
		want          numbers
	}{
		{"still", at{1000, 7}, at{1000, 7}, "32768\n", numbers{}},
		{"far", at{1000, 7}, at{1001, 8}, "32768\n", numbers{births: true}},
		{"near", at{32000, 7}, at{32001, 8}, "32768\n", numbers{births: true, near: true}},
		{"wrapped", at{32766, 7}, at{301, 9}, "32768\n", numbers{births: true, wrapped: true}},
		{"a whole turn", at{1000, 7}, at{1001, 7 + 32469}, "32768\n", numbers{births: true, wrapped: true}},
		{"small", at{100, 7}, at{101, 8}, "400\n", numbers{births: true, near: true}},
		{"no limit", at{1000, 7}, at{1000, 7}, "", numbers{near: true}},
	} {
		t.Run(test.name, func(t *testing.T) {
			files := numbersAt(test.before.last, test.before.forks)
			files["sys/kernel/pid_max"] = test.limit
			fs := fakeProc(t, files)
			got := newWrapWatch(fs).during(func() {
				for name, text := range numbersAt(test.after.last, test.after.forks) {
					if err := os.WriteFile(filepath.Join(fs.Root(), name), []byte(text), 0o644); err != nil {
						t.Fatal(err)
					}
				}
			})
			if got != test.want {
				t.Errorf("%+v, want %+v", got, test.want)
			}
		})
	}
	for _, missing := range []string{"loadavg", "stat"} {
		files := numbersAt(1000, 7)
		files["sys/kernel/pid_max"] = "32768"
		delete(files, missing)
		if got := newWrapWatch(fakeProc(t, files)).during(func() {}); !got.near {
			t.Errorf("without %s: %+v", missing, got)
		}
	}
}

// Near the wrap one clean look is not enough.
func TestCleanLooks(t *testing.T) {
	for _, test := range []struct {
		limit string
		looks int
	}{{"32768\n", 1}, {"400\n", 2}} {
		files := numbersAt(100, 7)
		files["sys/kernel/pid_max"] = test.limit
		// The first look of fixed is never clean.
		rep, err := Run(hangGuard(t), fakeProc(t, files), &fixed{}, anyone, longGrace)
		if err != nil || !rep.Verified || rep.Looks != 1+test.looks {
			t.Errorf("pid_max %s: %+v, %v; want %d clean looks", test.limit, rep, err, test.looks)
		}
	}
}

// A look that the numbers wrapped in is not clean.
func TestWrappedLook(t *testing.T) {
	files := numbersAt(30000, 7)
	files["sys/kernel/pid_max"] = "32768"
	fs := fakeProc(t, files)
	l := &script{
		func() Look {
			text := numbersAt(301, 3000)["loadavg"]
			if err := os.WriteFile(filepath.Join(fs.Root(), "loadavg"), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
			return clean()
		},
		clean,
	}
	rep, err := Run(hangGuard(t), fs, l, anyone, longGrace)
	if err != nil || !rep.Verified || rep.Looks != 2 {
		t.Errorf("%+v, %v", rep, err)
	}
}
