package ending

import (
	"testing"

	"xexit/internal/cgroup/cgrouptest"
)

// What ends logins ends them where systemd has only control groups of version 1
// too: the leader spared, whatever was frozen by one who was killed thawed.
func TestOldControlGroups(t *testing.T) {
	cgrouptest.Legacy(t, cannot, "^(TestEndLogin|TestEndLoginKilled|TestRoot(EndsLogin|SparesLeaderThatStays|LeavesScopeFirst))$/^(freeze|keep|kill|sweep)$")
}
