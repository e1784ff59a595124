package x11

// Event is something that the server said: one of the types below.
type Event interface{ event() }

// SetupDone: the server let the client in.
type SetupDone Setup

// AtomReply answers InternAtom; 0 is 'no such atom'.
type AtomReply struct {
	Tag  Tag
	Atom uint32
}

// Absent answers GetProperty: the window has no such property. That is what
// almost every ping is answered with, and so it is small.
type Absent struct{ Tag Tag }

// PropertyReply answers GetProperty.
type PropertyReply struct {
	Tag    Tag
	Type   uint32
	Format uint8  // bits of a unit: 8, 16, 32; 0 if absent
	Value  []byte // as much as was asked for
}

// ExtensionReply answers QueryExtension.
type ExtensionReply struct {
	Tag     Tag
	Present bool
	Major   byte // opcode of its requests
}

// VersionReply answers QueryResourceVersion.
type VersionReply struct {
	Tag          Tag
	Major, Minor uint16
}

// ClientsReply answers QueryClients.
type ClientsReply struct {
	Tag     Tag
	Clients []Client // at most MaxClients; the server itself is the one with Base 0
	More    bool     // there were more, or more than was kept
}

// Client is one connection to the server.
type Client struct {
	Base uint32 // of its resource ids
	PID  uint32 // 0 if unknown: only unix sockets tell
}

// PropertyNotify: a property of a watched window was set (also to the value it
// had) or deleted.
type PropertyNotify struct {
	Window, Atom uint32
	Deleted      bool
}

// ErrorReply: a request was refused. Tag is 0 if it was one without a reply.
type ErrorReply struct {
	Tag    Tag
	Code   byte
	Opcode byte
}

// Unexpected answers a question in a way the package does not understand, or
// too long to be kept: the server is alive, and that is all it tells.
type Unexpected struct{ Tag Tag }

func (SetupDone) event()      {}
func (Refused) event()        {}
func (AtomReply) event()      {}
func (Absent) event()         {}
func (PropertyReply) event()  {}
func (ExtensionReply) event() {}
func (VersionReply) event()   {}
func (ClientsReply) event()   {}
func (PropertyNotify) event() {}
func (ErrorReply) event()     {}
func (Unexpected) event()     {}
