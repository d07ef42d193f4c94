"""What rules, silences and cards mean. Pure: nothing here knows a database, so that a draft can be run over the
past."""
