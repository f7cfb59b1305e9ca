{{ config(materialized='incremental', unique_key='id') }}

-- Arrays of 200 texts: one call each, which is much faster than one a row.
with missing as (
    select id, title || '. ' || description as text, (row_number() over (order by id) - 1) / 200 as chunk
    from {{ source('app', 'projects') }}
    {% if is_incremental() %}
    where id not in (select id from {{ this }})
    {% endif %}
), arrays as (
    select array_agg(id) as ids, array_agg(text) as texts from missing group by chunk
)
select id,
       answer->>'label' as prediction,
       (answer->>'score')::real as score,
       (select id from pgml.deployed_models where name = '{{ var("pgml_project") }}') as model_id,
       clock_timestamp() as predicted_at
from arrays,
     rows from (unnest(ids), jsonb_array_elements(pgml.predict('{{ var("pgml_project") }}', texts))) as row (id, answer)
