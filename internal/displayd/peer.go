package displayd

import (
	"fmt"

	"xexit/internal/proc"
)

// IsWorker reports, as Listen asks, whether a process is the worker's service:
// it is in its control group, and still the process that the kernel named.
func IsWorker(pid int, uid uint32) error {
	procs, err := proc.New("/proc")
	if err != nil {
		return err
	}
	defer procs.Close()
	group, err := procs.Cgroup(pid)
	if err != nil {
		return err
	}
	owner, err := procs.UID(pid)
	if err != nil {
		return err
	}
	if group != WorkerUnit || owner != uid {
		return fmt.Errorf("process %d of user %d is in %s and not the display worker", pid, uid, group)
	}
	return nil
}
