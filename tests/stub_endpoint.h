#pragma once
/*
 * An endpoint that answers from a script: HTTP/1.1 on loopback, a thread a connection. It is for
 * tests of those who ask, so it takes what they send on trust, and counts it.
 */

#include <stdbool.h>
#include <stddef.h>

typedef struct stub_endpoint stub_endpoint;

/* What one rule does; zero means as an endpoint that is well. */
typedef struct {
    const char *contains; /* the rule is for requests whose body holds this; NULL: all */
    int from, n;          /* of these requests, those from number `from` (0: the first) on, n of
                             them; n 0: all that follow */
    int status;           /* 0: 200 */
    const char *headers;  /* further ones, each with its CR LF */
    const char *content;  /* what the model says; NULL: what `say:` in the request asks for */
    const char *message;  /* further members of the message, such as "\"refusal\": \"no\"" */
    const char *finish;   /* finish_reason; NULL: "stop" */
    const char *body;     /* in the place of all that */
    size_t cut;           /* so many bytes of the body are left out at its end */
    bool short_sent;      /* ... while the length says that they come */
    size_t padding;       /* bytes of blanks behind the body */
    int delay_ms;
    bool chunked;    /* in pieces of 7 bytes */
    bool close;      /* the connection ends with the answer */
    bool reset;      /* ... without one */
    bool silent;     /* nothing comes until the server stops or the client leaves */
    bool echo_key;   /* %s of the body is the Authorization header */
    bool no_usage;   /* no counts of tokens */
    bool raw_string; /* content is a list of parts, written as it is */
} stub_rule;

typedef struct {
    const stub_rule *rules; /* the first that fits and is not used up; borrowed */
    int n_rules;
    const char *content; /* said where a request asks for nothing; NULL: "unknown" */
    int n_together;      /* answers wait until so many requests are there at once, 2 s at most */
    const char *key;     /* NULL: any; else 401 for another */
    int delay_ms;        /* of every answer */
} stub_options;

/* false: no port. */
bool stub_endpoint_open(stub_endpoint **out, const stub_options *options);
void stub_endpoint_close(stub_endpoint *stub); /* NULL is fine */
int stub_endpoint_port(const stub_endpoint *stub);

typedef struct {
    int n_requests;   /* POSTs that came whole */
    int n_most;       /* under way at once */
    int n_with_key;   /* that had an Authorization header */
    int n_connected;  /* connections */
    char last[16384]; /* body of the last request, cut */
    char path[256];   /* of the last request */
} stub_seen;
void stub_endpoint_seen(stub_endpoint *stub, stub_seen *out);
/* Requests whose body held the text. */
int stub_endpoint_count(stub_endpoint *stub, const char *text);
