package proc

import (
	"errors"
	"testing"
)

// A process without a cgroup is no process that is gone: it would be passed
// over, and a session full of them be called empty.
func TestCgroup(t *testing.T) {
	const (
		systemd = "32 30 0:28 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd\n"
		unified = "31 30 0:27 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"
	)
	for name, c := range map[string]struct {
		files map[string]string
		want  string
		err   error
	}{
		"unified":           {map[string]string{"7/cgroup": "0::/user.slice/a b\n"}, "/user.slice/a b", nil},
		"both versions":     {map[string]string{"7/cgroup": "3:cpu:/x\n0::/y\n"}, "/y", nil},
		"version 1":         {map[string]string{"7/cgroup": "3:cpu:/x\n"}, "", nil},
		"version 1 alone":   {map[string]string{"7/cgroup": "3:cpu:/x\n1:name=systemd:/y\n0::/\n", "self/mountinfo": systemd}, "/y", nil},
		"systemd with both": {map[string]string{"7/cgroup": "1:name=systemd:/x\n0::/y\n", "self/mountinfo": systemd + unified}, "/y", nil},
		"none is mounted":   {map[string]string{"7/cgroup": ""}, "", nil},
		"without the file":  {map[string]string{"7/stat": ""}, "", nil},
		"gone":              {map[string]string{"8/stat": ""}, "", ErrGone},
	} {
		t.Run(name, func(t *testing.T) {
			if got, err := fakeTree(t, c.files).Cgroup(7); got != c.want || !errors.Is(err, c.err) {
				t.Errorf("got %q, %v, want %q, %v", got, err, c.want, c.err)
			}
		})
	}
}
