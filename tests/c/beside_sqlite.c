/* beside_sqlite DOMAIN: a program with a SQLite of its own, in which libmtasts keeps policies with another one. */

#include <mtasts.h>
#include <sqlite3.h>
#include <stdio.h>

int main(int argc, char **argv)
{
    static char patterns[MTASTS_PATTERNS_SIZE];
    sqlite3 *database = NULL;
    sqlite3_stmt *statement = NULL;

    /* json() is in the system's SQLite and not in the one of libmtasts. */
    if (argc != 2 || sqlite3_open(":memory:", &database) != SQLITE_OK
        || sqlite3_prepare_v2(database, "SELECT json('{ }')", -1, &statement, NULL) != SQLITE_OK
        || sqlite3_step(statement) != SQLITE_ROW) {
        fprintf(stderr, "SQLite: %s\n", sqlite3_errmsg(database));
        return 1;
    }
    printf("%s %s\n", sqlite3_libversion(), (const char *)sqlite3_column_text(statement, 0));
    int mode = mtasts_lookup(argv[1], patterns, sizeof patterns);
    printf("%d %s %s\n", mode, patterns, mode < 0 ? mtasts_last_error() : "");
    mtasts_cleanup();
    sqlite3_finalize(statement);
    return sqlite3_close(database) == SQLITE_OK ? 0 : 1;
}
