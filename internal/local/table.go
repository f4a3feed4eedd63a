package local

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
)

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
	fmt.Fprintln(tab, "SERVER\tKEY\tADDRESS\tTRACKER\tWARM\tWORKER")
	for _, s := range p.Servers {
		fmt.Fprintf(tab, "%s\t%s\t%s\t%s\t%d\t%s\n",
			s.Name, s.Key, s.Address, s.Tracker, s.Settings.WarmWorkers, strings.Join(s.Command, " "))
	}
	if err := tab.Flush(); err != nil {
		return fmt.Errorf("write table: %w", err)
	}
	return nil
}
