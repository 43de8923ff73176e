module outrigger.dev/tests/oracle/node

go 1.26
