package local

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"rpcpool.dev/api/v1alpha1"
)

// workers says how many there are.
func (s *Settings) workers() string {
	if s.Protocol == string(v1alpha1.ProtocolRPC) {
		return fmt.Sprintf("%d, 1 spare", s.Calls.Workers)
	}
	return fmt.Sprintf("%d warm", s.WarmWorkers)
}

// WriteTable prints what runs where.
func (p Plan) WriteTable(w io.Writer) error {
	tab := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tab, "TRACKER\tADDRESS\tPOOLS")
	for _, t := range p.Trackers {
		fmt.Fprintf(tab, "%s\t%s\t%s\n", t.Name, t.Address, strings.Join(t.Pools, ", "))
	}
	if err := tab.Flush(); err != nil {
		return fmt.Errorf("write table: %w", err)
	}
	fmt.Fprintln(w)
	fmt.Fprintln(tab, "SERVER\tPROTOCOL\tKEY\tADDRESS\tTRACKER\tWORKERS\tWORKER")
	for _, s := range p.Servers {
		fmt.Fprintf(tab, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n",
			s.Name, s.Settings.Protocol, s.Key, s.Address, s.Tracker, s.Settings.workers(), strings.Join(s.Command, " "))
	}
	if err := tab.Flush(); err != nil {
		return fmt.Errorf("write table: %w", err)
	}
	return nil
}
