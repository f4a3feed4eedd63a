package client

import "testing"

// TestC10_TheBudgetOfRetries is ten tokens, of which a refusal costs one, a success gives a tenth, and under half
// there is none.
func TestC10_TheBudgetOfRetries(t *testing.T) {
	b := newBudget()
	may := 0
	for b.retry() {
		may++
	}
	if may != 4 { // after the fifth there are five left, which is half
		t.Errorf("%d refusals in a row are tried elsewhere", may)
	}
	for range 9 {
		b.success()
	}
	if b.retry() {
		t.Error("nine successes pay for a refusal")
	}
	for range 12 { // also for the refusal that was tried nowhere else
		b.success()
	}
	if !b.retry() {
		t.Error("21 successes do not pay for two")
	}
	for range 1000 {
		b.success()
	}
	for may = 0; b.retry(); may++ {
	}
	if may != 4 {
		t.Errorf("successes are saved: %d refusals in a row are tried elsewhere", may)
	}
}
