package cluster

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
)

func TestChooseSubnet(t *testing.T) {
	for name, c := range map[string]struct {
		start uint32
		taken []string
		want  string // empty: none is left
	}{
		"the first":                  {0, nil, "198.18.0.0/24"},
		"in the second half":         {256 + 7, nil, "198.19.7.0/24"},
		"start beyond the end wraps": {512 + 3, nil, "198.18.3.0/24"},
		"next to one in use":         {4, []string{"198.18.4.0/24"}, "198.18.5.0/24"},
		"a host route takes its net": {4, []string{"198.18.4.77/32"}, "198.18.5.0/24"},
		"a wide route takes many":    {0, []string{"198.18.0.0/16"}, "198.19.0.0/24"},
		"around the end":             {511, []string{"198.19.255.0/24"}, "198.18.0.0/24"},
		"strangers do not matter":    {0, []string{"10.0.0.0/8", "192.0.2.0/24", "fd00::/64"}, "198.18.0.0/24"},
		"all in use":                 {9, []string{"198.0.0.0/8"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			var taken []netip.Prefix
			for _, prefix := range c.taken {
				taken = append(taken, netip.MustParsePrefix(prefix))
			}
			got, err := chooseSubnet(c.start, taken)
			switch {
			case c.want == "" && err == nil:
				t.Errorf("got %v where none is left", got)
			case c.want != "" && (err != nil || got.String() != c.want):
				t.Errorf("got %v, %v; want %s", got, err, c.want)
			}
		})
	}
}

func TestParseRoutes(t *testing.T) {
	// As Linux prints it on a little-endian machine; the other order is the machine's own affair.
	const table = `Iface	Destination	Gateway 	Flags	RefCnt	Use	Metric	Mask		MTU	Window	IRTT
eth0	00000000	010200C0	0003	0	0	0	00000000	0	0	0
eth0	000200C0	00000000	0001	0	0	0	00FFFFFF	0	0	0
outrig18-4	000412C6	00000000	0001	0	0	0	00FFFFFF	0	0	0
`
	got, err := parseRoutes(strings.NewReader(table))
	want := []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("198.18.4.0/24")}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("got %v, %v; want %v without the default route", got, err, want)
	}
	if _, err := parseRoutes(strings.NewReader("heading\neth0 xyz 0 0 0 0 0 00FFFFFF\n")); err == nil {
		t.Error("a line that is no route was read")
	}
}
