/*
 * The endpoint of the tests as a program, for scripts: prints its port, answers until it is ended.
 *
 * usage: stub_endpoint [--content TEXT] [--delay-ms N] [--fail-first N STATUS] [--key KEY]
 *
 * GET of any path tells how many requests there were; so does the last line, on SIGTERM.
 */

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "stub_endpoint.h"

int main(int argc, char **argv)
{
    stub_options options = {.content = NULL};
    stub_rule rule = {.body = "{\"error\": {\"message\": \"scripted\"}}"};
    stub_endpoint *stub;
    stub_seen seen;
    sigset_t ends;
    int got;

    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--content") == 0 && i + 1 < argc) {
            options.content = argv[++i];
        } else if (strcmp(argv[i], "--delay-ms") == 0 && i + 1 < argc) {
            options.delay_ms = atoi(argv[++i]);
        } else if (strcmp(argv[i], "--key") == 0 && i + 1 < argc) {
            options.key = argv[++i];
        } else if (strcmp(argv[i], "--fail-first") == 0 && i + 2 < argc) {
            rule.n = atoi(argv[++i]);
            rule.status = atoi(argv[++i]);
            options.rules = &rule;
            options.n_rules = rule.n > 0;
        } else {
            fprintf(stderr, "stub_endpoint: what is \"%s\"?\n", argv[i]);
            return 2;
        }
    }
    /* Before threads, so that all of them leave these signals to the main one. */
    sigemptyset(&ends);
    sigaddset(&ends, SIGTERM);
    sigaddset(&ends, SIGINT);
    pthread_sigmask(SIG_BLOCK, &ends, NULL);
    if (!stub_endpoint_open(&stub, &options)) {
        fputs("stub_endpoint: no port\n", stderr);
        return 1;
    }
    printf("%d\n", stub_endpoint_port(stub));
    fflush(stdout);
    sigwait(&ends, &got);
    stub_endpoint_seen(stub, &seen);
    printf("%d requests\n", seen.n_requests);
    stub_endpoint_close(stub);
    return 0;
}
