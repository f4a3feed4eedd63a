package promtest

import (
	"math"
	"time"
)

// Sample is a value of an instant query.
type Sample struct {
	Labels map[string]string
	Value  float64
}

// Answer is what a query returned.
type Answer []Sample

// of returns the samples whose label has a value; "" is also that it is not there.
func (a Answer) of(label, value string) (some Answer) {
	for _, s := range a {
		if s.Labels[label] == value {
			some = append(some, s)
		}
	}
	return some
}

// by returns the values by a label, which must tell the samples apart.
func (a Answer) by(label string) map[string]float64 {
	values := map[string]float64{}
	for _, s := range a {
		if _, twice := values[s.Labels[label]]; twice {
			return nil
		}
		values[s.Labels[label]] = s.Value
	}
	return values
}

// one returns the only value; NaN, which is equal to nothing: there are several, or none.
func (a Answer) one() float64 {
	if len(a) != 1 {
		return math.NaN()
	}
	return a[0].Value
}

// Range is from the least to the most.
type Range [2]float64

func (r Range) has(v float64) bool { return v >= r[0] && v <= r[1] }

// about tells whether a value is another one, but for what Prometheus adds and leaves
// out at a window's ends.
func about(got, want float64) bool { return math.Abs(got-want) <= 0.1*want }

// inWindow is how often something happened in 5 minutes, by its rate.
func inWindow(rate float64) float64 { return (5 * time.Minute).Seconds() * rate }
