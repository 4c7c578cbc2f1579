/* Reads one row of the cache with SQLite and nothing else: DATABASE DOMAIN. Prints the mode. No check of any kind. */
#include <stdio.h>

/* Declared here, since the header need not be installed. */
typedef struct sqlite3 sqlite3;
typedef struct sqlite3_stmt sqlite3_stmt;
int sqlite3_open_v2(const char *, sqlite3 **, int, const char *);
int sqlite3_prepare_v2(sqlite3 *, const char *, int, sqlite3_stmt **, const char **);
int sqlite3_bind_text(sqlite3_stmt *, int, const char *, int, void (*)(void *));
int sqlite3_step(sqlite3_stmt *);
int sqlite3_column_int(sqlite3_stmt *, int);
const void *sqlite3_column_blob(sqlite3_stmt *, int);
int sqlite3_finalize(sqlite3_stmt *);
int sqlite3_close(sqlite3 *);

enum { READ_WRITE = 0x2, NO_MUTEX = 0x8000, ROW = 100 };

int main(int argc, char **argv)
{
    sqlite3 *database;
    sqlite3_stmt *statement;
    const char *text = "SELECT mode, id, body, fetched_at, checked_at, checked_until FROM domain WHERE name = ?1";
    if (argc != 3 || sqlite3_open_v2(argv[1], &database, READ_WRITE | NO_MUTEX, NULL) != 0)
        return 1;
    if (sqlite3_prepare_v2(database, text, -1, &statement, NULL) != 0 ||
        sqlite3_bind_text(statement, 1, argv[2], -1, NULL) != 0 || sqlite3_step(statement) != ROW)
        return 2;
    printf("%d\n", sqlite3_column_int(statement, 0) + (sqlite3_column_blob(statement, 2) == NULL));
    sqlite3_finalize(statement);
    return sqlite3_close(database);
}
