#!/usr/bin/env python3
"""What does the demo model answer, by the reference library alone?

Every label gets its joint log-probability after the prompt (its tokens, then <|im_end|>), and the
probabilities are normalised over the label set: what `emcell annotate --answer full` computes.
The prompts are those that `emcell prompt` wrote, with the gold label of each cell.

    evaluate.py PROMPTS.jsonl --model model --expected expected.json
    evaluate.py YAN.jsonl --model model --column cell_type --map yan_labels.json
"""

import argparse
import collections
import json
import pathlib

import torch
import transformers

import simulate

HERE = pathlib.Path(__file__).resolve().parent


class Scorer:
    """Closed-set scores of one model folder. Weights as stored (bf16), arithmetic in float32."""

    def __init__(self, folder, labels=simulate.LABELS):
        self.labels = labels
        self.model = transformers.AutoModelForCausalLM.from_pretrained(folder,
                                                                       dtype=torch.float32)
        self.model.eval()
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
        answers = [tokenizer.encode(label + "<|im_end|>", add_special_tokens=False)
                   for label in labels]
        width = max(map(len, answers))
        self.targets = torch.zeros(len(labels), width, dtype=torch.long)
        self.counted = torch.zeros(len(labels), width)
        for row, answer in enumerate(answers):
            self.targets[row, :len(answer)] = torch.tensor(answer)
            self.counted[row, :len(answer)] = 1

    @torch.inference_mode()
    def log_probabilities(self, ids):
        """Joint log-probability of every label after these prompt ids, not normalised."""
        prompt = self.model(input_ids=torch.tensor([ids]), use_cache=True, logits_to_keep=1)
        cache = prompt.past_key_values
        cache.batch_repeat_interleave(len(self.labels))
        rest = self.model(input_ids=self.targets[:, :-1], past_key_values=cache).logits
        first = prompt.logits.expand(len(self.labels), -1, -1)
        scores = torch.cat([first, rest], 1).log_softmax(-1)
        scores = scores.gather(2, self.targets.unsqueeze(2)).squeeze(2)
        return (scores * self.counted).sum(1)

    def probabilities(self, ids):
        return self.log_probabilities(ids).softmax(0)


def score_file(scorer, path, column, mapping=None):
    """[(gold label, predicted label, its probability)]; cells the mapping lacks are left out."""
    results = []
    with open(path, encoding="utf-8") as file:
        for line in file:
            record = json.loads(line)
            gold = record["obs"][column]
            if mapping is not None and gold not in mapping:
                continue
            probabilities = scorer.probabilities(record["ids"])
            best = int(probabilities.argmax())
            results.append((mapping[gold] if mapping else gold, scorer.labels[best],
                            float(probabilities[best])))
    return results


def report(results, labels):
    """Prints accuracy and a line a label; returns both."""
    per_label = {}
    for label in labels:
        guesses = collections.Counter(guess for gold, guess, _ in results if gold == label)
        if guesses:
            right = guesses.pop(label, 0)
            cells = right + sum(guesses.values())
            per_label[label] = [right, cells]
            wrong = ", ".join(f"{name} {n}" for name, n in guesses.most_common(3))
            print(f"{label:20s} {right:4d} of {cells:4d}   {wrong}")
    accuracy = sum(gold == guess for gold, guess, _ in results) / len(results)
    sure = sum(probability for _, _, probability in results) / len(results)
    print(f"accuracy {accuracy:.4f} over {len(results)} cells; mean probability {sure:.4f}")
    return accuracy, per_label


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("prompts", type=pathlib.Path)
    parser.add_argument("--model", type=pathlib.Path, default=HERE / "model")
    parser.add_argument("--column", default="label", help="obs column of the gold label")
    parser.add_argument("--map", type=pathlib.Path, help="JSON: value of the column to label")
    parser.add_argument("--expected", type=pathlib.Path, help="JSON file to put the figures in")
    parser.add_argument("--name", default="model", help="the figures' name in that file")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    mapping = json.loads(args.map.read_text()) if args.map else None
    scorer = Scorer(args.model)
    accuracy, per_label = report(score_file(scorer, args.prompts, args.column, mapping),
                                 scorer.labels)
    if args.expected:
        expected = json.loads(args.expected.read_text()) if args.expected.exists() else {}
        expected[f"{args.name}_accuracy"] = round(accuracy, 4)
        expected[f"{args.name}_right_of"] = {label: f"{right} of {cells}"
                                             for label, (right, cells) in per_label.items()}
        args.expected.write_text(json.dumps(expected, indent=2) + "\n")


if __name__ == "__main__":
    main()
