#pragma once
/* The subcommands. Each takes its own argv, argv[0] being its name, and returns the exit code. */

#ifdef __cplusplus
extern "C" {
#endif

int cli_annotate(int argc, char **argv);
int cli_bench(int argc, char **argv);
int cli_benchmark(int argc, char **argv);
int cli_dataset(int argc, char **argv);
int cli_doctor(int argc, char **argv);
int cli_merge(int argc, char **argv);
int cli_evaluate(int argc, char **argv);
int cli_inspect(int argc, char **argv);
int cli_profile(int argc, char **argv);
int cli_prompt(int argc, char **argv);
int cli_report(int argc, char **argv);
int cli_slurm_template(int argc, char **argv);
int cli_status(int argc, char **argv);
int cli_tokenize(int argc, char **argv);

#ifdef __cplusplus
}
#endif
