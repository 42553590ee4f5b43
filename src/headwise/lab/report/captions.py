"""How to read what a report shows: the captions under its plots and the notes under its tables."""

RESULTS = (
    "Each mark is an arm's mean over seeds, the bar its 95 % interval, the small strokes below it the seeds. Left "
    "over the whole range between floor and ceiling, right enlarged: judge the size of a difference on the left."
)
INTERVALS = (
    "Intervals speak of the next training run on the next test examples: their variance is that between seeds and that "
    "between test examples which the seeds share"
)
INTERVALS_WITHIN = {
    2: ", and taken on Wilson's scale, so that none leaves the metric's range, {low} to {high}",
    1: ", and taken on the log scale, so that none leaves the metric's range, {low} and above",
    0: "",
}
EFFICIENCY = (
    "Each arm's score against the FLOPs of one example. Equal parameters do not mean equal compute: an arm that "
    "applies its blocks several times stands further right. Up and to the left is better."
)
DIFFERENCES = (
    "Mean difference, paired over seeds and test examples, with its interval, corrected for the number of pairs. An "
    "interval that crosses 0 shows no difference"
)
DIFFERENCES_ZONE = "in the grey zone a difference, real or not, is below {share} in normalised score"
PAIRS = (
    "Interval and paired p: of the mean of differences paired over seeds and test examples, both of which vary; no p "
    "with fewer than three seeds. Holm corrects the paired p for the number of pairs, and each interval has the "
    "confidence of the pair's step in that correction, so that it leaves out 0 exactly where the corrected p is below "
    "0.05. Welch's p ignores the pairing. g is Hedges' effect size, in standard deviations over seeds. “Can show” is "
    "the smallest difference that so many seeds and examples would show with 80 % power, in a single test. The last "
    "column is a BCa bootstrap over the test examples: it speaks of these trained models, not of the next seed."
)
EQUIVALENT = (
    "p equivalent: of the true difference being {effect} or more, the smallest difference of interest; the larger of "
    "two one-sided tests, after Holm's correction over all pairs. Below 0.05 the arms are called equivalent."
)
MCNEMAR = (
    "p McNemar: each example is right or wrong, and half of those on which two arms differ should favour each. Exact "
    "over all seeds, where an example swaps its arms for all seeds at once; of these trained models, not of the next."
)
FORECAST = (
    "For the pair of arms that varies most. Shown: the smallest difference that is significant in 4 of 5 such "
    "comparisons after correction for the number of pairs; ruled out: the smallest effect= for which arms that do not "
    "differ are called equivalent as often. Time is that of training, as it was; test examples cost next to none, but "
    "must be there."
)
CURVES = (
    "Validation score over training: line, mean over seeds; band, from the lowest to the highest seed. The range is "
    "that between floor and ceiling (those of the test examples). Where the arms end close to each other, the second "
    "half is shown once more beside it, enlarged, with a thin line for each seed."
)
CURVE = (
    "Validation score over training between floor and ceiling; where its second half fills little of that, this is "
    "shown once more beside it, enlarged."
)
LOSS = "The loss on training and on validation examples. If they part, the model learns its training set by heart."
GATES = (
    "Mean gate of each head at each refinement step over the test examples. 1, pale, is plain attention; orange heads "
    "count more, blue ones less. Columns that look alike: the same at every step. All pale: the router does nothing."
)
GATES_FIRST_SEED = "Shown is the first seed, as heads have no identity across seeds."
EFFECTIVE = (
    "Effective number of heads on the validation examples, after selection and with the weights that the gates give: "
    "as many heads with equal gates would be as concentrated (exp of the entropy of their shares). Line, mean over "
    "seeds; band, lowest to highest. At the top all heads count alike; near 1 one head carries nearly everything, "
    "however many are on."
)
CHOICES = (
    "What the gate functions chose on the validation examples: heads whose gate is not 0 and, where tokens predict "
    "them, threshold, complexity and sharpness. Means over tokens, layers and steps; line, mean over seeds; band, "
    "their range."
)
LOADS = (
    "Share of the test tokens that use each head, layer by layer. All dark: nothing is switched off; a white cell is "
    "a head that no token uses."
)
ROUTING = (
    "On the test examples after training, mean over seeds. Spread: standard deviation of the gates, where 1 is plain "
    "attention; over tokens and examples those of ten examples. Active: a gate that is not 0. Effective heads, shares "
    "and Herfindahl index describe the gates as they are, after selection and with their weights: H effective heads "
    "and Herfindahl 1/H, all H heads alike; 1 and 1, always one head. Dead: never active. The entropy is that of the "
    "router's distribution before anything is selected; it can be 1 while two heads do all the work."
)
ROUTING_OF_ONE = "On the test examples for a finished run, else on the validation examples of the last look."
METRICS = "Mean over seeds; floor and ceiling where the task knows them for the metric."
METRICS_OF_ONE = "Means over the test examples."
PROFILE = (
    "Of one update, the mean over {updates} that torch's profiler looked at, on {device}; an update that is looked at "
    "takes longer than others. Kept: memory that the forward pass takes and does not give back, for the backward pass. "
    "The trace in profile/ opens in Perfetto (ui.perfetto.dev) or chrome://tracing."
)
COSTS = "Parameters of backbone and controller; FLOPs of a forward pass; samples per second while training."
ONE_RUN = "One run with one seed: another seed would give another score. headwise compare says by how much."
QUICK = "A quick try with cut-down settings: its numbers are no results, and no verdict is given."
SCOPE = (
    "The verdicts hold for this task, these sizes, this recipe and this number of updates; another learning rate "
    "could suit one arm better than another."
)
FAILED = "Failed runs are left out of their arm's mean, which flatters an arm that fails where it does badly."
FEW_SEEDS = (
    "With {seeds} the tests allow for the small number, but cannot check that seeds scatter normally. Intervals of "
    "arms are of 95 % each; those of pairs are corrected for the number of pairs, as the p values after Holm are."
)
WIDTHS = "To match their size, arms may be narrower than the first one; the widths stand in the table of arms."
SPEED = "Samples per second were measured with {processes} runs side by side; for speed see headwise bench."
SCALING = (
    "At each size the first arm has the shape of that size and the others are matched to it within 1 %; all runs of a "
    "seed see the same data in the same order and the same recipe. Each size is a comparison of its own, with its own "
    "page."
)
SCALING_COSTS = (
    "Parameters of backbone and controller, and their ratio to the first arm; FLOPs of a forward pass; training time, "
    "mean over seeds; memory, the most that a process held, the interpreter and its libraries included."
)
AGAINST_PARAMETERS = (
    "Mean over seeds of each arm against its parameters, arms of equal size a little apart; thin bars are 95 % t "
    "intervals, where there are several seeds, and may leave the frame. Lines that stay apart: the advantage lasts."
)
ADVANTAGES = (
    "How much better than the first arm, seed by seed: mean, and its 95 % t interval where there are several seeds. "
    "Bars without one come from a single seed, and another seed would give others."
)
SCALING_SCOPE = (
    "One recipe serves all sizes: a rate that suits the small ones may not suit the large ones, and with the same "
    "number of updates larger models are further from their end."
)
CURVE_TITLE = "With and without a router, by FFN width"
WIDTH_CURVE = (
    "Mean over seeds with its 95 % interval at each FFN width, all else equal. A wide FFN that reads what the router "
    "reads can pick the right part of the heads' outputs in its place: where the lines meet, it does."
)
CURVE_COSTS = (
    "Not matched on parameters, as the width is what is varied: at one width the routed arm has its router besides, so "
    "read across widths, beside the parameters and FLOPs. Intervals and p after Holm's correction over the widths."
)
KNOWN = (
    "This is the instructed walk at a setting chosen, on other seeds, so that an arm must choose its heads to succeed: "
    "a lab that sees nothing here could not see it elsewhere."
)
CONTROLS = (
    "A gain is credited to routers only where a routed arm beats, besides the reference, every control: arms whose "
    "heads are weighted at random or fixed, which choose nothing."
)
CONTROL_SCOPE = (
    "That routing is seen, or not, is said of these arms in this loop; another router, or more training, may do more. "
    "“Would have been seen” is the difference that so many seeds show with 80 % power in a single test."
)
SWEEP = (
    "Every setting was trained with {seeds}; seed k is one data set for all of them. The base, {base}, is what the "
    "command says without the swept keys. The best setting is chosen by its mean on the validation examples; as the "
    "best of several looks better than it is, it is then trained again, beside the base, on seeds that the choice has "
    "not seen, and those decide."
)
SWEEP_RESULTS = (
    "Test and validation score, mean over seeds; by validation the best is chosen, among settings that finished with "
    "every seed. Settings differ in what their keys say and are not made equal in size, unless parity= was given."
)
MAIN_EFFECTS = (
    "For each value the mean test score over seeds and all settings that have it, with a 95 % interval from which what "
    "seeds have in common is taken, as they are paired. All panels share one scale. Where some combinations are "
    "missing, values are averaged over different companions."
)
INTERACTIONS = (
    "Mean test score of all settings with both values. If rows keep their order from column to column, the keys act "
    "independently; if they change it, what is best for one depends on the other. Empty: no such setting."
)
SWEEP_SCOPE = (
    "A setting may owe its lead to more parameters, FLOPs or updates, which stand beside it: headwise compare makes "
    "arms equal in size."
)
LADDER = (
    "Arms from simple to rich were trained shortly, one after the other, on the same data and seed, and checked after "
    "each; the ladder stops at the first rung that fails a check. Of several failed checks the first is the cause."
)
CHECKS = "Found and allowed are in units of the check; headwise ladder and docs/ladder.md explain each."
LADDER_SCOPE = (
    "A ladder looks for what is broken, with one seed and a small budget: an arm that passes trains as it should, and "
    "none is shown to be better than another. For that there is headwise compare."
)
NOT_TRAINED_AGAIN = (
    "Nothing was trained again: the runs are as they were. Examples that are drawn anew come from a seed of their own, "
    "the same for all runs; the others are the test examples of each run. None of them was trained on."
)
FEW_EXAMPLES = (
    "Each number of training examples is a comparison of its own, with as many updates, so that few examples are seen "
    "the more often; test examples are the same for all numbers with the same seed."
)
LEAST_KEPT = (
    "What each arm keeps, at the point where it keeps least, of its {score}, each with the floor and the ceiling of "
    "its own test examples: 100 % is what it reaches at the neutral point of the axis, marked *."
)
AXIS = (
    "Left the mean over seeds with its 95 % interval, between the floor and the ceiling of each test set; right what "
    "is kept of what an arm reaches at the point marked *, where nothing is changed."
)
POINTS_FAMILY = "The pairs at all points of an axis are one family of tests."
OOD_SCOPE = (
    "An arm that keeps more need not be better there: read what is kept beside the score, as an arm that learned less "
    "has less to lose."
)
KEPT = (
    "In brackets: what an arm keeps of its {score}, each with the floor and the ceiling of its own test examples, "
    "where 100 % is what it reaches at the point marked *."
)
RESTARTS = (
    "Nothing was trained again. Restart k draws initial states and noise from seed k of the evaluation; what an "
    "example draws does not depend on its batch."
)
NOT_CHOSEN = (
    "No selection knows the right answer. Which one is best is reported here on the test examples, not chosen: to "
    "choose one, and a number of steps, measure on examples that you do not report."
)
BOUNDS = (
    "At random: the mean over restarts, what one of them scores alone. Best of all: a selection that knew the right "
    "answer. FLOPs are those of one example in all its restarts, forward alone."
)
COMPUTE = (
    "From left to right in each panel more restarts; the grey line is a restart at random, which only costs more, the "
    "upper edge of the band the best of all. All panels have the same axes."
)
GAINS = (
    "Score of the selected answers minus that of a random restart on the same examples, with 95 % confidence over test "
    "examples, for this one run."
)
FOLLOWED = (
    "The first restart with the most steps. Moved: how far a step moves the state, of its length, mean over tokens and "
    "examples. Marked is where training ended."
)
ONE_RUN = (
    "One run is shown: another seed of training may answer differently, and what helps here need not help after more "
    "training."
)
EXAMPLES = (
    "The answer after each refinement step, with the gates of the heads and where they look. They are chosen among the "
    "first 64 test examples; headwise show draws any other, and two runs side by side."
)
