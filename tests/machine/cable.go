package machine

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// TerminalNet is the terminal that is meant where none is named.
const TerminalNet = "terminal"

// Terminal is a network of its own at the far end of a cable, as a thin client
// is. It shares the machine's files and process numbers, and nothing of its
// network: unix sockets with abstract names included.
type Terminal struct {
	Name       string
	IPv4, IPv6 string // its addresses
	Near       string // the IPv4 address at the cable's other end
	m          *Machine
	near       *Terminal // whom the cable leads to; nil: the machine
	plug       string    // the cable's interface there
	relays     bool      // a relay to the machine runs here
}

// Terminal lays a cable to a terminal, once for each name.
func (m *Machine) Terminal(name string) (*Terminal, error) { return m.lay(name, nil) }

// Beyond lays a cable to a terminal that only this one sees.
func (t *Terminal) Beyond(name string) (*Terminal, error) { return t.m.lay(name, t) }

// Laid is the terminal of that name, nil if no cable leads to it.
func (m *Machine) Laid(name string) *Terminal {
	m.laying.Lock()
	defer m.laying.Unlock()
	return m.terminals[name]
}

func (m *Machine) lay(name string, near *Terminal) (*Terminal, error) {
	m.laying.Lock()
	defer m.laying.Unlock()
	if t := m.terminals[name]; t != nil {
		return t, nil
	}
	// The first network is the one that /etc/hosts has the terminal in.
	number := len(m.terminals) + 1
	if name == TerminalNet {
		number = 0
	}
	t := &Terminal{
		Name: name, m: m, near: near, plug: fmt.Sprintf("cable%d", number),
		Near: fmt.Sprintf("10.9.%d.1", number), IPv4: fmt.Sprintf("10.9.%d.2", number), IPv6: fmt.Sprintf("fd09:0:0:%x::2", number),
	}
	_, err := m.Root(t.at(near, "sh", "-ec", fmt.Sprintf(`
		ip netns add %[1]s
		ip link add %[2]s type veth peer name lan netns %[1]s
		ip addr add %[3]s/24 dev %[2]s
		ip addr add fd09:0:0:%[4]x::1/64 dev %[2]s nodad
		ip link set %[2]s up
		ip -n %[1]s addr add %[5]s/24 dev lan
		ip -n %[1]s addr add %[6]s/64 dev lan nodad
		ip -n %[1]s link set lan up
		ip -n %[1]s link set lo up`, name, t.plug, t.Near, number, t.IPv4, t.IPv6))...)
	if err == nil {
		m.terminals[name] = t
	}
	return t, err
}

// at is a command line that runs at an end of the cable.
func (*Terminal) at(end *Terminal, argv ...string) []string {
	if end == nil {
		return argv
	}
	return append([]string{"nsenter", "--net=/run/netns/" + end.Name}, argv...)
}

// Command is a command line that root must run, and that runs at the terminal
// as the user. It keeps its process number.
func (t *Terminal) Command(user string, argv ...string) []string {
	id := strconv.Itoa(Users[user])
	return append(t.at(t, "setpriv", "--reuid", id, "--regid", id, "--clear-groups"), argv...)
}

// filter makes or removes a table of rules at both ends. They are rules for
// what comes in: a packet dropped on its way out is an error to the sender.
// Neighbours are still found, as with a fault farther away.
func (t *Terminal) filter(kind, rule string) error {
	for _, end := range []struct {
		where *Terminal
		plug  string
	}{{t, "lan"}, {t.near, t.plug}} {
		table := fmt.Sprintf("inet %s_%s", kind, end.plug)
		script := "delete table " + table
		if rule != "" {
			script = fmt.Sprintf(`create table %[1]s
				add chain %[1]s in { type filter hook input priority 0; policy accept; }
				add rule %[1]s in icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept
				add rule %[1]s in iifname %[2]q %[3]s`, table, end.plug, rule)
		}
		if _, err := t.m.Root(t.at(end.where, "nft", script)...); err != nil {
			return err
		}
	}
	return nil
}

// Cut pulls the cable: what is sent vanishes without an answer, both ways.
func (t *Terminal) Cut() error { return t.filter("cut", "counter drop") }

// Heal plugs it in again.
func (t *Terminal) Heal() error { return t.filter("cut", "") }

// Loss has so many percent of all packets vanish, each way, until 0.
func (t *Terminal) Loss(percent int) error {
	if percent == 0 {
		return t.filter("loss", "")
	}
	return t.filter("loss", fmt.Sprintf("numgen random mod 100 < %d counter drop", percent))
}

var packets = regexp.MustCompile(`counter packets (\d+)`)

// Dropped counts the packets that have vanished since Loss or Cut (kind is
// "loss" or "cut"), on the way to the terminal and from it.
func (t *Terminal) Dropped(kind string) (to, from int, err error) {
	for _, end := range []struct {
		where *Terminal
		plug  string
		count *int
	}{{t, "lan", &to}, {t.near, t.plug, &from}} {
		out, err := t.m.Root(t.at(end.where, "nft", fmt.Sprintf("list table inet %s_%s", kind, end.plug))...)
		if err != nil {
			return 0, 0, err
		}
		if found := packets.FindStringSubmatch(out); found != nil {
			*end.count, err = strconv.Atoi(found[1])
		}
		if err != nil {
			return 0, 0, err
		}
	}
	return to, from, nil
}

// Unacked reports whether a connection from the near end to the terminal has
// data in flight that nobody acknowledges.
func (t *Terminal) Unacked() (bool, error) {
	out, err := t.m.Root(t.at(t.near, "ss", "-Htin", "dst", t.IPv4, "or", "dst", "["+t.IPv6+"]")...)
	return strings.Contains(out, "unacked:"), err
}

// Settled reports whether all that was sent over the cable is acknowledged,
// either way.
func (t *Terminal) Settled() (bool, error) {
	left, err := t.Unacked()
	if err != nil || left {
		return false, err
	}
	out, err := t.m.Root(t.at(t, "ss", "-Htin", "dst", t.Near)...)
	return !strings.Contains(out, "unacked:"), err
}

// PowerOff takes the power from the terminal: it goes silent, its programs are
// killed, and its kernel forgets all connections. After PowerOn whatever is
// still sent to it is answered with a reset.
func (t *Terminal) PowerOff(programs ...*Ref) error {
	if err := t.Cut(); err != nil {
		return err
	}
	for _, p := range programs {
		if err := p.Signal(unix.SIGKILL); err != nil {
			return err
		}
		if !p.Gone(Guard) {
			return fmt.Errorf("hang guard: process %d still runs", p.PID)
		}
	}
	if _, err := t.m.Root(t.at(t, "ss", "-K", "-ta", "dst", t.Near)...); err != nil {
		return err
	}
	out, err := t.m.Root(t.at(t, "ss", "-Hta", "dst", t.Near)...)
	if err == nil && out != "" {
		err = fmt.Errorf("the terminal still has connections:\n%s", out)
	}
	return err
}

// PowerOn gives the terminal power again; nothing runs on it.
func (t *Terminal) PowerOn() error { return t.Heal() }
